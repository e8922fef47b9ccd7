/* SPDX-License-Identifier: GPL-2.0-or-later */
/* _openxt_quick: what is run for nearly each message, in C.
 *
 * Each part has a twin in Python that does the same, slower, and is used where this module was not built:
 * in openxt_bus plans.py, receiver.py and favourites.py, and openxt_dbd/tail.py.  What both promise is tested on both. */

#include "quick.h"

PyObject *taken_exception(void)
{
    if (!PyErr_ExceptionMatches(PyExc_Exception))
        return NULL;
    PyObject *type, *value, *traceback;
    PyErr_Fetch(&type, &value, &traceback);
    PyErr_NormalizeException(&type, &value, &traceback);
    if (traceback != NULL)
        PyException_SetTraceback(value, traceback);
    Py_XDECREF(type);
    Py_XDECREF(traceback);
    return value;
}

static PyMethodDef functions[] = {
    {"answer_all", (PyCFunction)(void (*)(void))answer_all, METH_FASTCALL,
     "answer_all(plans, data, at, serial, give): give the answers to calls that came before; where they end."},
    {"rewrite", (PyCFunction)(void (*)(void))rewrite, METH_FASTCALL,
     "rewrite(spots, text, value, owner, tail, number, writer, time): the event of the usual write, or None."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_openxt_quick",
    .m_doc = "What is run for nearly each message.",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__openxt_quick(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL || !prepare_rewrite())
        return NULL;
    PyTypeObject *types[] = {&Plan_Type, &Receiver_Type, &Favourites_Type, &Tail_Type};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (PyModule_AddType(module, types[i]) < 0) {
            Py_DECREF(module);
            return NULL;
        }
    return module;
}
