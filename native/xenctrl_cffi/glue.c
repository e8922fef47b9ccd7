/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The C that cffi cannot say: a logger (it takes a va_list) and a function that the header has only as
 * "static inline".  Included by the generated module.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include <xenctrl.h>
#include <xenguest.h>
#include <xen/hvm/params.h>

/*
 * Error messages of the libraries, kept per thread: a call that fails has logged in the thread that made it, so
 * neither a lock nor Python is needed here, and calls in different threads do not mix their texts.
 */
static __thread char messages[2048];
static __thread size_t used;

static void append(const char *format, va_list arguments)
{
    int wanted = vsnprintf(messages + used, sizeof(messages) - used, format, arguments);

    if (wanted > 0)
        used += wanted;
    if (used >= sizeof(messages))
        used = sizeof(messages) - 1; /* cut short; vsnprintf ended it with a zero */
}

static void keep_error(xentoollog_logger *logger, xentoollog_level level, int error_number, const char *context,
                       const char *format, va_list arguments)
{
    int callers_errno = errno;

    if (level >= XTL_ERROR) {
        if (used > 0 && used < sizeof(messages) - 1)
            messages[used++] = '\n';
        append(format, arguments);
    }
    errno = callers_errno;
}

static xentoollog_logger *openxt_logger(void)
{
    static xentoollog_logger logger = { .vmessage = keep_error }; /* without state: any number of handles share it */

    return &logger;
}

static void openxt_messages_clear(void)
{
    used = 0;
    messages[0] = '\0';
}

static const char *openxt_messages(void)
{
    return messages;
}

static unsigned long openxt_p2m(struct xc_dom_image *image, unsigned long pfn)
{
    return xc_dom_p2m(image, pfn);
}
