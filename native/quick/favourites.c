/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Callbacks that are run straight from the wait for input: see openxt_bus/favourites.py and loop.py. */

#include "quick.h"

#include <errno.h>
#include <structmember.h>
#include <sys/epoll.h>

enum { AT_A_TIME = 64 /* descriptors */ };

typedef struct {
    PyObject_HEAD
    PyObject *callbacks; /* dict, by descriptor */
    PyObject *report;    /* told what a callback has raised */
    int epoll;           /* not ours */
    char stirred;        /* the wait has to end */
    unsigned long long turn;
} Favourites;

/* 0 where that ends the wait, with an error. */
static int run(Favourites *favourites, PyObject *callback)
{
    PyObject *said = PyObject_CallNoArgs(callback);
    if (said == NULL) {
        PyObject *error = taken_exception();
        if (error != NULL) {
            said = PyObject_CallOneArg(favourites->report, error);
            Py_DECREF(error);
        }
    }
    Py_XDECREF(said);
    return said != NULL;
}

/* The callback for what is ready, a new reference; NULL for anything but input of a favourite. */
static PyObject *callback_for(const Favourites *favourites, const struct epoll_event *event)
{
    if (event->events != EPOLLIN)
        return NULL;
    PyObject *fd = PyLong_FromLong(event->data.fd);
    if (fd == NULL)
        return NULL;
    PyObject *callback = PyDict_GetItemWithError(favourites->callbacks, fd);
    Py_DECREF(fd);
    return Py_XNewRef(callback);
}

/* How many were served: all, or those up to the one that stirred; -1 with an error, and for others. */
static int serve_ready(Favourites *favourites, const struct epoll_event *ready, int count)
{
    for (int i = 0; i < count; i++) {
        PyObject *callback = callback_for(favourites, &ready[i]);
        if (callback == NULL)
            return -1;
        int is_run = run(favourites, callback);
        Py_DECREF(callback);
        if (!is_run)
            return -1;
        if (favourites->stirred)
            return i + 1;
    }
    return count;
}

static int wait_for(int epoll, struct epoll_event *ready, int timeout_ms)
{
    int count;
    Py_BEGIN_ALLOW_THREADS
    count = epoll_wait(epoll, ready, AT_A_TIME, timeout_ms);
    Py_END_ALLOW_THREADS
    return count;
}

static PyObject *serve(Favourites *favourites, PyObject *given)
{
    struct epoll_event ready[AT_A_TIME];
    long timeout_ms = PyLong_AsLong(given);
    if (timeout_ms == -1 && PyErr_Occurred())
        return NULL;
    favourites->stirred = 0;
    for (;;) {
        int count = wait_for(favourites->epoll, ready, (int)timeout_ms);
        if (count < 0 && errno != EINTR)
            return PyErr_SetFromErrno(PyExc_OSError);
        if (count <= 0) /* what a signal wants is done by who looks at the rest */
            return PyErr_CheckSignals() < 0 ? NULL : Py_NewRef(Py_False);
        if (serve_ready(favourites, ready, count) < 0)
            return PyErr_Occurred() ? NULL : Py_NewRef(Py_False);
        if (favourites->stirred)
            Py_RETURN_TRUE;
        favourites->turn++;
        if (timeout_ms >= 0)
            Py_RETURN_TRUE;
    }
}

static PyObject *favour(Favourites *favourites, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 2 || !PyLong_Check(arguments[0])) {
        PyErr_SetString(PyExc_TypeError, "favour(fd: int, callback)");
        return NULL;
    }
    if (PyDict_SetItem(favourites->callbacks, arguments[0], arguments[1]) < 0)
        return NULL;
    favourites->stirred = 1;
    Py_RETURN_NONE;
}

static PyObject *forget(Favourites *favourites, PyObject *fd)
{
    int is_there = PyDict_Contains(favourites->callbacks, fd);
    if (is_there < 0 || (is_there && PyDict_DelItem(favourites->callbacks, fd) < 0))
        return NULL;
    favourites->stirred |= is_there;
    Py_RETURN_NONE;
}

static Py_ssize_t length(Favourites *favourites)
{
    return PyDict_GET_SIZE(favourites->callbacks);
}

static PyObject *favourites_new(PyTypeObject *type, PyObject *arguments, PyObject *words)
{
    static char *names[] = {"epoll", "report", NULL};
    PyObject *report;
    int epoll;
    if (!PyArg_ParseTupleAndKeywords(arguments, words, "iO", names, &epoll, &report))
        return NULL;
    PyObject *callbacks = PyDict_New();
    Favourites *favourites = callbacks != NULL ? (Favourites *)type->tp_alloc(type, 0) : NULL;
    if (favourites == NULL) {
        Py_XDECREF(callbacks);
        return NULL;
    }
    favourites->callbacks = callbacks;
    favourites->report = Py_NewRef(report);
    favourites->epoll = epoll;
    return (PyObject *)favourites;
}

static int favourites_traverse(Favourites *favourites, visitproc visit, void *arg)
{
    Py_VISIT(favourites->callbacks);
    Py_VISIT(favourites->report);
    return 0;
}

static int favourites_clear(Favourites *favourites)
{
    PyDict_Clear(favourites->callbacks); /* whoever comes after that still finds a table */
    return 0;
}

static void favourites_dealloc(Favourites *favourites)
{
    PyObject_GC_UnTrack(favourites);
    Py_CLEAR(favourites->callbacks);
    Py_CLEAR(favourites->report);
    Py_TYPE(favourites)->tp_free(favourites);
}

static PyMethodDef methods[] = {
    {"favour", (PyCFunction)(void (*)(void))favour, METH_FASTCALL, "favour(fd, callback)"},
    {"forget", (PyCFunction)forget, METH_O, "forget(fd)"},
    {"serve", (PyCFunction)serve, METH_O,
     "serve(timeout_ms): wait and run callbacks; False where others are ready, or the time is over."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"stirred", T_BOOL, offsetof(Favourites, stirred), 0, "Whoever sets it ends the wait."},
    {"turn", T_ULONGLONG, offsetof(Favourites, turn), 0, "Counts the looks at what is ready."},
    {NULL, 0, 0, 0, NULL},
};

static PySequenceMethods as_sequence = {.sq_length = (lenfunc)length};

PyTypeObject Favourites_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_openxt_quick.Favourites",
    .tp_doc = "Callbacks of descriptors that are run straight from the wait for input.",
    .tp_basicsize = sizeof(Favourites),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = favourites_new,
    .tp_traverse = (traverseproc)favourites_traverse,
    .tp_clear = (inquiry)favourites_clear,
    .tp_dealloc = (destructor)favourites_dealloc,
    .tp_as_sequence = &as_sequence,
    .tp_methods = methods,
    .tp_members = members,
};
