/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The C that cffi cannot say: a logger (it takes a va_list) and a function that the header has only as
 * "static inline".  Included by the generated module.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#define XC_WANT_COMPAT_MAP_FOREIGN_API 1 /* one page of a guest is mapped: no second library for that */
#include <xenctrl.h>
#include <xenguest.h>
#include <xen/hvm/hvm_info_table.h>
#include <xen/hvm/params.h>
#include <xen/hvm/save.h>

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

/*
 * What hvmloader reads of its processors, in a page that the builder has begun.  The bytes of the table add up
 * to 0 modulo 256.
 */
static int openxt_hvm_info(xc_interface *xch, uint32_t domid, bool apic, unsigned vcpus)
{
    struct hvm_info_table *info;
    uint8_t sum = 0;
    uint8_t *page = xc_map_foreign_range(xch, domid, XC_PAGE_SIZE, PROT_READ | PROT_WRITE, HVM_INFO_PFN);

    if (page == NULL)
        return -1;
    info = (struct hvm_info_table *)(page + HVM_INFO_OFFSET);
    info->apic_mode = apic;
    info->nr_vcpus = vcpus;
    for (unsigned i = 0; i < sizeof(info->vcpu_online); i++)
        info->vcpu_online[i] = 0;
    for (unsigned vcpu = 0; vcpu < vcpus && vcpu < HVM_MAX_VCPUS; vcpu++)
        info->vcpu_online[vcpu / 8] |= 1 << vcpu % 8;
    info->checksum = 0;
    for (unsigned i = 0; i < info->length && i < XC_PAGE_SIZE - HVM_INFO_OFFSET; i++)
        sum += ((uint8_t *)info)[i];
    info->checksum = -sum;
    return munmap(page, XC_PAGE_SIZE);
}

/* The ACPI event registers of a full machine, which Xen keeps beside its timer. */
static int openxt_acpi_events(xc_interface *xch, uint32_t domid, struct hvm_hw_pmtimer *events)
{
    return xc_domain_hvm_getcontext_partial(xch, domid, HVM_SAVE_CODE(PMTIMER), 0, events, HVM_SAVE_LENGTH(PMTIMER));
}

/* Let a vcpu run on the listed processors only.  The library's map has as many bits as the host has of them. */
static int openxt_set_affinity(xc_interface *xch, uint32_t domid, int vcpu, const uint32_t *pcpus, unsigned count)
{
    int size = xc_get_cpumap_size(xch), failed;
    uint8_t *map;

    if (size <= 0)
        return -1;
    map = calloc(1, size);
    if (map == NULL)
        return -1;
    for (unsigned i = 0; i < count; i++)
        if (pcpus[i] / 8 < (unsigned)size)
            map[pcpus[i] / 8] |= 1 << pcpus[i] % 8;
    failed = xc_vcpu_setaffinity(xch, domid, vcpu, map, NULL, XEN_VCPUAFFINITY_HARD);
    free(map);
    return failed;
}
