# SPDX-License-Identifier: GPL-2.0-or-later
"""Operations as tuples of steps, made before anything runs."""
