/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The write of every day: one short text for another. See openxt_dbd/store.py, whose `write_at` does the same. */

#include "quick.h"

enum { LARGE = 1024 /* characters of both texts; as in store.py */ };

static PyObject *names_owner;

/* What is given. */
typedef struct {
    PyObject *spots;  /* dict: text of a path -> node above, name in it, path */
    PyObject *text;
    PyObject *value;
    PyObject *owner;  /* whose the node has to be */
    PyObject *tail;
    PyObject *number;
    PyObject *writer;
    PyObject *time;
} Given;

static int is_short(PyObject *old, PyObject *value)
{
    return PyUnicode_CheckExact(old) && PyUnicode_CheckExact(value)
           && PyUnicode_GET_LENGTH(old) + PyUnicode_GET_LENGTH(value) <= LARGE;
}

/* Whether nobody else looks at a node; -1 with an error. */
static int is_owned(PyObject *holder, PyObject *owner)
{
    PyObject *found = PyObject_GetAttr(holder, names_owner);
    Py_XDECREF(found); /* the node keeps it */
    return found == NULL ? -1 : found == owner;
}

/* The event of a change that is made; NULL without an error: nothing was done. */
static PyObject *made(const Given *given, PyObject *holder, PyObject *name, PyObject *path)
{
    PyObject *old = PyDict_GetItemWithError(holder, name);
    if (old == NULL || !is_short(old, given->value))
        return NULL;
    int is_same = PyObject_RichCompareBool(old, given->value, Py_EQ);
    if (is_same != 0 || is_owned(holder, given->owner) <= 0)
        return NULL;
    PyObject *event = PyTuple_Pack(7, given->number, path, Py_False, given->writer, given->time, old, given->value);
    if (event == NULL)
        return NULL;
    /* The entry is there: to give it another value takes no memory, so what the journal has will be done. */
    if (write_text(given->tail, given->number, path, given->value) <= 0
        || PyDict_SetItem(holder, name, given->value) < 0)
        Py_CLEAR(event);
    return event;
}

PyObject *rewrite(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 8 || !PyDict_CheckExact(arguments[0]) || !PyUnicode_CheckExact(arguments[1])
        || !PyLong_CheckExact(arguments[5])) {
        PyErr_SetString(PyExc_TypeError, "rewrite(spots, text, value, owner, tail, number, writer, time)");
        return NULL;
    }
    const Given given = {arguments[0], arguments[1], arguments[2], arguments[3],
                         arguments[4], arguments[5], arguments[6], arguments[7]};
    if (!Py_IS_TYPE(given.tail, &Tail_Type))
        Py_RETURN_NONE;
    PyObject *spot = PyDict_GetItemWithError(given.spots, given.text);
    if (spot == NULL)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    if (!PyTuple_CheckExact(spot) || PyTuple_GET_SIZE(spot) != 3 || !PyDict_Check(PyTuple_GET_ITEM(spot, 0))
        || !PyTuple_CheckExact(PyTuple_GET_ITEM(spot, 2))) {
        PyErr_SetString(PyExc_TypeError, "a spot is a node, a name in it, and a path");
        return NULL;
    }
    PyObject *event = made(&given, PyTuple_GET_ITEM(spot, 0), PyTuple_GET_ITEM(spot, 1), PyTuple_GET_ITEM(spot, 2));
    return event != NULL || PyErr_Occurred() ? event : Py_NewRef(Py_None);
}

int prepare_rewrite(void)
{
    names_owner = PyUnicode_InternFromString("owner");
    return names_owner != NULL;
}
