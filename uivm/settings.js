// SPDX-License-Identifier: GPL-2.0-or-later
// Where rpc-proxy listens, when it is not port 8080 of the page's host: window.OPENXT_WS = 8081;
// openxt-uid answers this file itself.
