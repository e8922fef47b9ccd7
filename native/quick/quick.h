/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the parts of _openxt_quick share. */
#ifndef OPENXT_QUICK_H
#define OPENXT_QUICK_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the quick parts read little-endian messages as they are; elsewhere Python's are used"
#endif

/* module.c */
/* What was raised, if it is an Exception; else it stays raised, and this is NULL. */
PyObject *taken_exception(void);

/* answers.c */
extern PyTypeObject Plan_Type;
PyObject *answer_all(PyObject *module, PyObject *const *arguments, Py_ssize_t count);
/* The answer to a message, or None; NULL with an error. */
PyObject *answer_to(PyObject *plans, const char *data, Py_ssize_t size, uint32_t serial);

/* receiver.c */
extern PyTypeObject Receiver_Type;

/* tail.c */
extern PyTypeObject Tail_Type;
/* The line of a text leaf; 0, and nothing done, for unusual ones and where it does not fit; -1 with an error. */
int write_text(PyObject *tail, PyObject *number, PyObject *path, PyObject *text);

/* rewrite.c */
int prepare_rewrite(void);
PyObject *rewrite(PyObject *module, PyObject *const *arguments, Py_ssize_t count);

/* favourites.c */
extern PyTypeObject Favourites_Type;

#endif
