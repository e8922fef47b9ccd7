/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of _openxt_quick share. */
#ifndef OPENXT_QUICK_H
#define OPENXT_QUICK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the quick parts read little-endian messages as they are; elsewhere Python's are used"
#endif

/* answers.c */
extern PyTypeObject Plan_Type;
PyObject *answer_all(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
PyObject *receive(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

/* tail.c */
extern PyTypeObject Tail_Type;

#endif
