/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is read from the bus's socket, and answered there and then where it can be: see openxt_bus/receiver.py. */

#include "quick.h"

#include <errno.h>
#include <structmember.h>
#include <sys/socket.h>

enum { READ_SIZE = 64 * 1024 };

typedef struct {
    PyObject_HEAD
    PyObject *plans;     /* dict: the calls that came before */
    PyObject *waiting;   /* what is to be sent before an answer, if it has anything */
    PyObject *otherwise; /* told of what is not done with that */
    int fd;              /* not ours */
    unsigned serial;     /* of the last message that was sent */
    char is_held;        /* nothing is read here */
} Receiver;

static unsigned next_serial(Receiver *receiver)
{
    return receiver->serial = receiver->serial % UINT32_MAX + 1;
}

static PyObject *leave(const Receiver *receiver, PyObject *came, PyObject *left)
{
    PyObject *const said[] = {came, left};
    return PyObject_Vectorcall(receiver->otherwise, said, 2, NULL);
}

static PyObject *leave_bytes(const Receiver *receiver, const char *data, Py_ssize_t size, int is_answer)
{
    PyObject *bytes = PyBytes_FromStringAndSize(data, size);
    if (bytes == NULL)
        return NULL;
    PyObject *said = is_answer ? leave(receiver, Py_None, bytes) : leave(receiver, bytes, Py_None);
    Py_DECREF(bytes);
    return said;
}

static PyObject *send_answer(const Receiver *receiver, PyObject *made)
{
    Py_ssize_t size = PyBytes_GET_SIZE(made), before = PyObject_Size(receiver->waiting), sent = 0;
    if (before < 0)
        return NULL;
    if (before == 0 && size > 0)
        sent = send(receiver->fd, PyBytes_AS_STRING(made), size, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == size)
        Py_RETURN_NONE;
    if (sent < 0) /* who sends it again finds out why it did not leave */
        sent = 0;
    return leave_bytes(receiver, PyBytes_AS_STRING(made) + sent, size - sent, 1);
}

static PyObject *readable(Receiver *receiver, PyObject *unused)
{
    char data[READ_SIZE];
    (void)unused;
    if (receiver->is_held)
        return leave(receiver, Py_None, Py_None);
    Py_ssize_t size = recv(receiver->fd, data, sizeof data, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        Py_RETURN_NONE;
    if (size < 0) /* who reads again finds out why */
        return leave(receiver, Py_None, Py_None);
    PyObject *made = answer_to(receiver->plans, data, size, next_serial(receiver));
    if (made == NULL)
        return NULL;
    PyObject *said = made == Py_None ? leave_bytes(receiver, data, size, 0) : send_answer(receiver, made);
    Py_DECREF(made);
    return said;
}

static PyObject *receiver_next_serial(Receiver *receiver, PyObject *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLong(next_serial(receiver));
}

static PyObject *get_plans(Receiver *receiver, void *unused)
{
    (void)unused;
    return Py_NewRef(receiver->plans);
}

static int set_plans(Receiver *receiver, PyObject *plans, void *unused)
{
    (void)unused;
    if (plans == NULL || !PyDict_CheckExact(plans)) {
        PyErr_SetString(PyExc_TypeError, "plans are a dict");
        return -1;
    }
    Py_SETREF(receiver->plans, Py_NewRef(plans));
    return 0;
}

static PyObject *receiver_new(PyTypeObject *type, PyObject *arguments, PyObject *words)
{
    static char *names[] = {"fd", "waiting", "otherwise", NULL};
    PyObject *waiting, *otherwise;
    int fd;
    if (!PyArg_ParseTupleAndKeywords(arguments, words, "iOO", names, &fd, &waiting, &otherwise))
        return NULL;
    PyObject *plans = PyDict_New();
    Receiver *receiver = plans != NULL ? (Receiver *)type->tp_alloc(type, 0) : NULL;
    if (receiver == NULL) {
        Py_XDECREF(plans);
        return NULL;
    }
    receiver->plans = plans;
    receiver->waiting = Py_NewRef(waiting);
    receiver->otherwise = Py_NewRef(otherwise);
    receiver->fd = fd;
    return (PyObject *)receiver;
}

static int receiver_traverse(Receiver *receiver, visitproc visit, void *arg)
{
    Py_VISIT(receiver->plans);
    Py_VISIT(receiver->waiting);
    Py_VISIT(receiver->otherwise);
    return 0;
}

/* There is no tp_clear: whoever is in a circle with one has a dictionary, and is parted from it there. */
static void receiver_dealloc(Receiver *receiver)
{
    PyObject_GC_UnTrack(receiver);
    Py_DECREF(receiver->plans);
    Py_DECREF(receiver->waiting);
    Py_DECREF(receiver->otherwise);
    Py_TYPE(receiver)->tp_free(receiver);
}

static PyMethodDef methods[] = {
    {"readable", (PyCFunction)readable, METH_NOARGS, "readable(): read once, and answer."},
    {"next_serial", (PyCFunction)receiver_next_serial, METH_NOARGS, "next_serial(): of a message to be sent."},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef members[] = {
    {"serial", T_UINT, offsetof(Receiver, serial), 0, "Of the last message that was sent."},
    {"is_held", T_BOOL, offsetof(Receiver, is_held), 0, "Nothing is read here."},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"plans", (getter)get_plans, (setter)set_plans, "The calls that came before.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Receiver_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_openxt_quick.Receiver",
    .tp_doc = "Reads from a socket to the bus, and answers calls that came before there and then.",
    .tp_basicsize = sizeof(Receiver),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = receiver_new,
    .tp_traverse = (traverseproc)receiver_traverse,
    .tp_dealloc = (destructor)receiver_dealloc,
    .tp_methods = methods,
    .tp_members = members,
    .tp_getset = attributes,
};
