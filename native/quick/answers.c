/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The answer to a method call whose like came before: see openxt_bus/known_calls.py and plans.py.
 *
 * The bus has checked what arrives; lengths are checked here all the same, and what does not fit is left
 * to the long way. */

#include "quick.h"

#include <string.h>

enum {
    HEAD_SIZE = 16,              /* before the header fields; their length is its last word */
    ANSWER_SIZE = 24,            /* of an answer: the head, and the field REPLY_SERIAL */
    MAX_TEXTS = 2,
    MAX_SHORT = 64 * 1024,       /* bytes of a text that is answered here */
    PLAIN_CALL = 0x0100016c,     /* "l", method call, no flags, protocol 1 */
    RETURN = 0x0101026c,         /* "l", method return, no reply expected, protocol 1 */
    REPLY_SERIAL = 0x00750105,   /* field 5, of signature "u" */
};

typedef struct {
    PyObject_HEAD
    PyObject *run;        /* called with the texts */
    PyObject *otherwise;  /* called with data, serial, result and error where the answer is not made here */
    PyObject *is_there;   /* whether the object is there; None: it always is */
    PyObject *fields;     /* bytes of an answer's header fields after REPLY_SERIAL, padded */
    unsigned texts;       /* how many the call has as arguments */
    uint32_t fields_size; /* of all of an answer's fields, not padded */
    int returns_text;     /* or nothing at all */
    int is_ours;          /* the method's answer can be made here */
} Plan;

static uint32_t word_at(const char *data)
{
    uint32_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

static Py_ssize_t aligned(Py_ssize_t size, Py_ssize_t to)
{
    return (size + to - 1) & ~(to - 1);
}

/* The texts of a body that has nothing else; their number, or -1 where it has something else. */
static int read_texts(const char *data, Py_ssize_t at, Py_ssize_t end, unsigned wanted, PyObject **texts)
{
    unsigned count = 0;
    while (count < wanted) {
        at = aligned(at, 4);
        if (end - at < 5)
            break;
        Py_ssize_t size = word_at(data + at);
        if (end - at - 5 < size || data[at + 4 + size] != '\0')
            break;
        texts[count] = PyUnicode_DecodeUTF8(data + at + 4, size, NULL);
        if (texts[count] == NULL) {
            PyErr_Clear();
            break;
        }
        count++;
        at += 4 + size + 1;
    }
    if (count == wanted && at == end)
        return (int)count;
    while (count > 0)
        Py_DECREF(texts[--count]);
    return -1;
}

static PyObject *answer_bytes(const Plan *plan, uint32_t serial, uint32_t asked, const char *text, Py_ssize_t size)
{
    Py_ssize_t fields = PyBytes_GET_SIZE(plan->fields);
    Py_ssize_t body = plan->returns_text ? 4 + size + 1 : 0;
    PyObject *made = PyBytes_FromStringAndSize(NULL, ANSWER_SIZE + fields + body);
    if (made == NULL)
        return NULL;
    const uint32_t head[] = {RETURN, (uint32_t)body, serial, plan->fields_size, REPLY_SERIAL, asked};
    char *to = PyBytes_AS_STRING(made);
    memcpy(to, head, sizeof head);
    memcpy(to + ANSWER_SIZE, PyBytes_AS_STRING(plan->fields), fields);
    if (plan->returns_text) {
        const uint32_t length = (uint32_t)size;
        to += ANSWER_SIZE + fields;
        memcpy(to, &length, sizeof length);
        memcpy(to + 4, text, size);
        to[4 + size] = '\0';
    }
    return made;
}

/* NULL without an error where the text is too long, or has what no text of a message has. */
static PyObject *answer_with(const Plan *plan, uint32_t serial, uint32_t asked, const char *text, Py_ssize_t size)
{
    if (size >= MAX_SHORT || memchr(text, '\0', size) != NULL)
        return NULL;
    return answer_bytes(plan, serial, asked, text, size);
}

/* The answer where it is one of the usual ones; NULL without an error: `otherwise` knows what to do. */
static PyObject *usual_answer(const Plan *plan, uint32_t serial, uint32_t asked, PyObject *result)
{
    if (!plan->is_ours)
        return NULL;
    if (!plan->returns_text)
        return result == Py_None ? answer_bytes(plan, serial, asked, "", 0) : NULL;
    if (!PyUnicode_CheckExact(result))
        return NULL;
    if (PyUnicode_IS_COMPACT_ASCII(result))
        return answer_with(plan, serial, asked, PyUnicode_DATA(result), PyUnicode_GET_LENGTH(result));
    PyObject *text = PyUnicode_AsUTF8String(result); /* PyUnicode_AsUTF8 would stay with the result for good */
    if (text == NULL) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *made = answer_with(plan, serial, asked, PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text));
    Py_DECREF(text);
    return made;
}

static PyObject *ask_otherwise(const Plan *plan, const char *data, Py_ssize_t size, uint32_t serial,
                               PyObject *result, PyObject *error)
{
    PyObject *made = PyObject_CallFunction(plan->otherwise, "y#kOO", data, size, (unsigned long)serial, result, error);
    if (made != NULL && !PyBytes_CheckExact(made)) {
        Py_DECREF(made);
        PyErr_SetString(PyExc_TypeError, "otherwise() gives bytes");
        return NULL;
    }
    return made;
}

/* To what was raised, if it is an Exception; else it stays raised. */
static PyObject *answer_to_failure(const Plan *plan, const char *data, Py_ssize_t size, uint32_t serial)
{
    PyObject *error = taken_exception();
    if (error == NULL)
        return NULL;
    PyObject *made = ask_otherwise(plan, data, size, serial, Py_None, error);
    Py_DECREF(error);
    return made;
}

static PyObject *carry_out(const Plan *plan, const char *data, Py_ssize_t size, uint32_t serial, PyObject **texts)
{
    PyObject *result = PyObject_Vectorcall(plan->run, texts, plan->texts, NULL);
    if (result == NULL)
        return answer_to_failure(plan, data, size, serial);
    PyObject *made = usual_answer(plan, serial, word_at(data + 8), result);
    if (made == NULL && !PyErr_Occurred())
        made = ask_otherwise(plan, data, size, serial, result, Py_None);
    Py_DECREF(result);
    return made;
}

/* The plan for a whole message, borrowed; NULL, perhaps with an error, where there is none. */
static Plan *plan_for(PyObject *plans, const char *data, Py_ssize_t size, Py_ssize_t *body_at)
{
    if (size < HEAD_SIZE || word_at(data) != PLAIN_CALL)
        return NULL;
    Py_ssize_t fields = word_at(data + 12);
    *body_at = aligned(HEAD_SIZE + fields, 8);
    if (*body_at + (Py_ssize_t)word_at(data + 4) != size)
        return NULL;
    PyObject *key = PyBytes_FromStringAndSize(data + HEAD_SIZE, fields);
    if (key == NULL)
        return NULL;
    PyObject *found = PyDict_GetItemWithError(plans, key);
    Py_DECREF(key);
    return found != NULL && Py_IS_TYPE(found, &Plan_Type) ? (Plan *)found : NULL;
}

static int object_is_there(const Plan *plan)
{
    if (plan->is_there == Py_None)
        return 1;
    PyObject *said = PyObject_CallNoArgs(plan->is_there);
    if (said == NULL)
        return -1;
    int is_there = PyObject_IsTrue(said);
    Py_DECREF(said);
    return is_there;
}

PyObject *answer_to(PyObject *plans, const char *data, Py_ssize_t size, uint32_t serial)
{
    Py_ssize_t body_at;
    Plan *plan = plan_for(plans, data, size, &body_at);
    if (plan == NULL)
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    Py_INCREF(plan); /* the call may empty the table */
    PyObject *texts[MAX_TEXTS], *made = NULL;
    int is_there = object_is_there(plan);
    if (is_there < 0) {
        made = answer_to_failure(plan, data, size, serial);
    } else if (is_there > 0 && read_texts(data, body_at, size, plan->texts, texts) >= 0) {
        made = carry_out(plan, data, size, serial, texts);
        for (unsigned i = 0; i < plan->texts; i++)
            Py_DECREF(texts[i]);
    } else {
        made = Py_NewRef(Py_None);
    }
    Py_DECREF(plan);
    return made;
}

/* What a whole message takes that may have come before; 0 for others, and where its end is missing. */
static Py_ssize_t size_of_call(const char *data, Py_ssize_t size)
{
    if (size < HEAD_SIZE || word_at(data) != PLAIN_CALL)
        return 0;
    Py_ssize_t whole = aligned(HEAD_SIZE + (Py_ssize_t)word_at(data + 12), 8) + word_at(data + 4);
    return whole <= size ? whole : 0;
}

static int give(PyObject *to, PyObject *made)
{
    PyObject *said = PyObject_CallOneArg(to, made);
    Py_XDECREF(said);
    return said != NULL;
}

PyObject *answer_all(PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
    (void)module;
    if (count != 5 || !PyDict_CheckExact(arguments[0]) || !PyBytes_CheckExact(arguments[1])
        || !PyLong_CheckExact(arguments[2]) || !PyLong_CheckExact(arguments[3])) {
        PyErr_SetString(PyExc_TypeError, "answer_all(plans: dict, data: bytes, at: int, serial: int, give)");
        return NULL;
    }
    const char *data = PyBytes_AS_STRING(arguments[1]);
    Py_ssize_t at = PyLong_AsSsize_t(arguments[2]), end = PyBytes_GET_SIZE(arguments[1]), size;
    unsigned long serial = PyLong_AsUnsignedLong(arguments[3]);
    if (PyErr_Occurred())
        return NULL;
    if (at < 0 || at > end) {
        PyErr_SetString(PyExc_ValueError, "no message begins there");
        return NULL;
    }
    while ((size = size_of_call(data + at, end - at)) > 0) {
        PyObject *made = answer_to(arguments[0], data + at, size, (uint32_t)serial);
        if (made == NULL)
            return NULL;
        int is_answered = made != Py_None;
        int is_given = !is_answered || PyBytes_GET_SIZE(made) == 0 || give(arguments[4], made);
        Py_DECREF(made);
        if (!is_given)
            return NULL;
        if (!is_answered)
            break;
        serial = serial % UINT32_MAX + 1;
        at += size;
    }
    return PyLong_FromSsize_t(at);
}

static PyObject *plan_new(PyTypeObject *type, PyObject *arguments, PyObject *words)
{
    static char *names[] = {"run", "texts", "returns", "fields_size", "fields", "is_there", "otherwise", NULL};
    PyObject *run, *fields, *is_there, *otherwise;
    const char *returns;
    unsigned texts, fields_size;
    if (!PyArg_ParseTupleAndKeywords(arguments, words, "OIsISOO", names, &run, &texts, &returns, &fields_size,
                                     &fields, &is_there, &otherwise))
        return NULL;
    if (texts > MAX_TEXTS) {
        PyErr_Format(PyExc_ValueError, "a plan has at most %d texts", MAX_TEXTS);
        return NULL;
    }
    Plan *plan = (Plan *)type->tp_alloc(type, 0);
    if (plan == NULL)
        return NULL;
    plan->run = Py_NewRef(run);
    plan->fields = Py_NewRef(fields);
    plan->is_there = Py_NewRef(is_there);
    plan->otherwise = Py_NewRef(otherwise);
    plan->texts = texts;
    plan->fields_size = fields_size;
    plan->returns_text = strcmp(returns, "s") == 0;
    plan->is_ours = plan->returns_text || *returns == '\0';
    return (PyObject *)plan;
}

static int plan_traverse(Plan *plan, visitproc visit, void *arg)
{
    Py_VISIT(plan->run);
    Py_VISIT(plan->is_there);
    Py_VISIT(plan->otherwise);
    return 0;
}

static int plan_clear(Plan *plan)
{
    Py_CLEAR(plan->run);
    Py_CLEAR(plan->is_there);
    Py_CLEAR(plan->otherwise);
    return 0;
}

static void plan_dealloc(Plan *plan)
{
    PyObject_GC_UnTrack(plan);
    plan_clear(plan);
    Py_CLEAR(plan->fields);
    Py_TYPE(plan)->tp_free(plan);
}

PyTypeObject Plan_Type = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "_openxt_quick.Plan",
    .tp_doc = "How calls that differ in nothing but their texts are carried out and answered.",
    .tp_basicsize = sizeof(Plan),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = plan_new,
    .tp_traverse = (traverseproc)plan_traverse,
    .tp_clear = (inquiry)plan_clear,
    .tp_dealloc = (destructor)plan_dealloc,
};
