/* SPDX-License-Identifier: GPL-2.0-or-later */
/* _openxt_quick: what is run for nearly each message, in C.
 *
 * Each part has a twin in Python that does the same, slower, and is used where this module was not built:
 * openxt_bus/plans.py and openxt_dbd/tail.py.  What both promise is tested on both. */

#include "quick.h"

static PyMethodDef functions[] = {
    {"answer_all", (PyCFunction)(void (*)(void))answer_all, METH_FASTCALL,
     "answer_all(plans, data, at, serial, give): give the answers to calls that came before; where they end."},
    {"receive", (PyCFunction)(void (*)(void))receive, METH_FASTCALL,
     "receive(fd, plans, serial, waiting): answer what comes; else what came, in a tuple, or what could not leave."},
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
    if (module == NULL)
        return NULL;
    if (PyModule_AddType(module, &Plan_Type) < 0 || PyModule_AddType(module, &Tail_Type) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
