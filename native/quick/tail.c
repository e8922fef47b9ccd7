/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The end of a journal, mapped into memory: see openxt_dbd/journal.py, record_file.py and tail.py. */

#include <string.h>
#include <zlib.h>

#include "quick.h"

enum {
    MAX_LINE = 2048, /* bytes of a line that is made here */
    SUM_SIZE = 9,    /* the checksum in front of a line, and a space */
};

typedef struct {
    PyObject_HEAD
    Py_buffer view; /* the window; closed where its `buf` is NULL */
    Py_ssize_t at;  /* where the records end in it */
} Tail;

/* A line as it grows. */
typedef struct {
    char text[MAX_LINE];
    size_t size;
} Line;

static int put(Line *line, const char *text, size_t size)
{
    if (size > MAX_LINE - line->size)
        return 0;
    memcpy(line->text + line->size, text, size);
    line->size += size;
    return 1;
}

static int put_number(Line *line, unsigned long long number)
{
    char digits[20], *from = digits + sizeof digits;
    do
        *--from = '0' + number % 10;
    while (number /= 10);
    return put(line, from, digits + sizeof digits - from);
}

/* A text of ASCII that JSON has as it is; 0 for any other. */
static int put_text(Line *line, PyObject *text)
{
    if (!PyUnicode_CheckExact(text) || !PyUnicode_IS_COMPACT_ASCII(text))
        return 0;
    const char *from = PyUnicode_DATA(text);
    size_t size = PyUnicode_GET_LENGTH(text);
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)from[i] < ' ' || from[i] == '"' || from[i] == '\\')
            return 0;
    return put(line, "\"", 1) && put(line, from, size) && put(line, "\"", 1);
}

static int put_path(Line *line, PyObject *path)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(path); i++)
        if (!put(line, i ? "," : "[", 1) || !put_text(line, PyTuple_GET_ITEM(path, i)))
            return 0;
    return put(line, "]", 1);
}

static void put_sum(Line *line)
{
    static const char digits[] = "0123456789abcdef";
    uLong sum = crc32(0, (const Bytef *)line->text + SUM_SIZE, line->size - SUM_SIZE);
    for (int i = 7; i >= 0; i--, sum >>= 4)
        line->text[i] = digits[sum & 15];
    line->text[8] = ' ';
}

static int write_bytes(Tail *tail, const char *text, Py_ssize_t size)
{
    if (tail->view.buf == NULL || size > tail->view.len - tail->at)
        return 0;
    memcpy((char *)tail->view.buf + tail->at, text, size);
    tail->at += size;
    return 1;
}

static PyObject *tail_write(Tail *tail, PyObject *record)
{
    if (!PyBytes_Check(record)) {
        PyErr_SetString(PyExc_TypeError, "write(record: bytes)");
        return NULL;
    }
    return PyBool_FromLong(write_bytes(tail, PyBytes_AS_STRING(record), PyBytes_GET_SIZE(record)));
}

int write_text(PyObject *tail, PyObject *given, PyObject *path, PyObject *text)
{
    unsigned long long number = PyLong_AsUnsignedLongLong(given);
    if (number == (unsigned long long)-1 && PyErr_Occurred())
        return -1;
    Line line = {.size = SUM_SIZE};
    if (PyTuple_GET_SIZE(path) == 0 || !put(&line, "[\"s\",", 5) || !put_number(&line, number)
        || !put(&line, ",", 1) || !put_path(&line, path) || !put(&line, ",", 1) || !put_text(&line, text)
        || !put(&line, "]", 1))
        return 0;
    put_sum(&line);
    return put(&line, "\n", 1) && write_bytes((Tail *)tail, line.text, line.size);
}

static PyObject *tail_write_text(Tail *tail, PyObject *const *arguments, Py_ssize_t count)
{
    if (count != 3 || !PyLong_Check(arguments[0]) || !PyTuple_Check(arguments[1])) {
        PyErr_SetString(PyExc_TypeError, "write_text(number: int, path: tuple, text: str)");
        return NULL;
    }
    int is_written = write_text((PyObject *)tail, arguments[0], arguments[1], arguments[2]);
    return is_written < 0 ? NULL : PyBool_FromLong(is_written);
}

static PyObject *tail_close(Tail *tail, PyObject *unused)
{
    (void)unused;
    if (tail->view.buf != NULL)
        PyBuffer_Release(&tail->view);
    tail->view.buf = NULL;
    Py_RETURN_NONE;
}

static PyObject *tail_at(Tail *tail, void *unused)
{
    (void)unused;
    return PyLong_FromSsize_t(tail->at);
}

static PyObject *tail_new(PyTypeObject *type, PyObject *arguments, PyObject *words)
{
    static char *names[] = {"window", "at", NULL};
    PyObject *window;
    Py_ssize_t at;
    if (!PyArg_ParseTupleAndKeywords(arguments, words, "On", names, &window, &at))
        return NULL;
    Tail *tail = (Tail *)type->tp_alloc(type, 0);
    if (tail == NULL)
        return NULL;
    if (PyObject_GetBuffer(window, &tail->view, PyBUF_WRITABLE) < 0) {
        tail->view.buf = NULL;
        Py_DECREF(tail);
        return NULL;
    }
    if (at < 0 || at > tail->view.len) {
        Py_DECREF(tail);
        PyErr_SetString(PyExc_ValueError, "the end of the records is not in the window");
        return NULL;
    }
    tail->at = at;
    return (PyObject *)tail;
}

static void tail_dealloc(Tail *tail)
{
    if (tail->view.buf != NULL)
        PyBuffer_Release(&tail->view);
    Py_TYPE(tail)->tp_free(tail);
}

static PyMethodDef methods[] = {
    {"write", (PyCFunction)tail_write, METH_O, "write(record): False, and nothing done, where it does not fit."},
    {"write_text", (PyCFunction)(void (*)(void))tail_write_text, METH_FASTCALL,
     "write_text(number, path, text): as `write`, the line of a text leaf; False for unusual ones, too."},
    {"close", (PyCFunction)tail_close, METH_NOARGS, "close(): let go of the window; nothing fits any more."},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"at", (getter)tail_at, NULL, "Where the records end in the window.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject Tail_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_openxt_quick.Tail",
    .tp_doc = "The end of a journal, mapped into memory.",
    .tp_basicsize = sizeof(Tail),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = tail_new,
    .tp_dealloc = (destructor)tail_dealloc,
    .tp_methods = methods,
    .tp_getset = attributes,
};
