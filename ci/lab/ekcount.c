/*
 * ekcount: counts the aarch64 instructions that a program executes between marks, by class. A plug-in for qemu-user.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The plug-in interface of qemu is GPL-2.0-or-later, and so is this file. It is a program of its own, loaded by qemu, and no
 * part of the edgekit package.
 *
 *   gcc -O2 -shared -fPIC -o ekcount.so ekcount.c
 *   qemu-aarch64 -plugin file=ekcount.so,out=counts.jsonl PROGRAM
 *
 * The program marks a region by a system call that is never meant seriously, getpgid(0x454B0000 | k): no process has such a
 * number. An odd k begins region (k - 1) / 2, the k after it ends it. Each region that ends appends one line of JSON.
 *
 * The counters are not atomic: counts are exact as long as one thread runs inside a region.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Version 1 of the interface, as far as it is used here: Debian ships qemu without its header. */
typedef uint64_t qemu_plugin_id_t;
typedef struct {
    const char *target_name;
    struct {
        int min;
        int cur;
    } version;
    bool system_emulation;
    struct {
        int smp_vcpus;
        int max_vcpus;
    } system;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };
typedef void (*qemu_plugin_vcpu_tb_trans_cb_t)(qemu_plugin_id_t, struct qemu_plugin_tb *);
typedef void (*qemu_plugin_vcpu_syscall_cb_t)(qemu_plugin_id_t, unsigned vcpu, int64_t number, uint64_t, uint64_t, uint64_t,
                                              uint64_t, uint64_t, uint64_t, uint64_t, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, qemu_plugin_vcpu_tb_trans_cb_t);
void qemu_plugin_register_vcpu_syscall_cb(qemu_plugin_id_t, qemu_plugin_vcpu_syscall_cb_t);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);

#define EXPORTED __attribute__((visibility("default")))
EXPORTED int qemu_plugin_version = 1;

enum { SYS_GETPGID = 155, MARK = 0x454B }; /* "EK" */

/* Every instruction is of one class; FMLA and SDOT are counted once more beside SIMD_FP. */
enum counter { TOTAL, LOAD_STORE, BRANCH, INTEGER_IMMEDIATE, INTEGER_REGISTER, SIMD_FP, OTHER, FMLA, SDOT, COUNTERS };
static const char *const counter_names[COUNTERS] = {
    "total", "load_store", "branch", "integer_immediate", "integer_register", "simd_fp", "other", "fmla", "sdot",
};

static uint64_t executed[COUNTERS];
static uint64_t at_begin[COUNTERS];
static bool in_region;
static char out_path[4096];
static FILE *out;

/* The top level of the A64 encoding: bits 28 to 25 (Arm Architecture Reference Manual, C4.1). */
static enum counter class_of(uint32_t instruction)
{
    switch ((instruction >> 25) & 0xF) {
    case 0x8: case 0x9:
        return INTEGER_IMMEDIATE;
    case 0xA: case 0xB:
        return BRANCH;
    case 0x4: case 0x6: case 0xC: case 0xE:
        return LOAD_STORE;
    case 0x5: case 0xD:
        return INTEGER_REGISTER;
    case 0x7: case 0xF:
        return SIMD_FP;
    default:
        return OTHER;
    }
}

static bool is_fmla(uint32_t instruction)
{
    const bool by_vector = (instruction & 0xBFA0FC00) == 0x0E20CC00;
    const bool by_element = (instruction & 0xBF80F400) == 0x0F801000;
    const bool halves_by_vector = (instruction & 0xBFE0FC00) == 0x0E400C00;
    const bool halves_by_element = (instruction & 0xBFC0F400) == 0x0F001000;
    return by_vector || by_element || halves_by_vector || halves_by_element;
}

static bool is_sdot(uint32_t instruction)
{
    const bool by_vector = (instruction & 0xBF20FC00) == 0x0E009400;
    const bool by_element = (instruction & 0xBFC0F400) == 0x0F80E000;
    return by_vector || by_element;
}

/* A translated block runs from its first to its last instruction, so that one addition a counter is enough. */
static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb *block)
{
    (void)id;
    uint64_t in_block[COUNTERS] = {0};
    const size_t length = qemu_plugin_tb_n_insns(block);
    for (size_t i = 0; i < length; i++) {
        uint32_t instruction;
        memcpy(&instruction, qemu_plugin_insn_data(qemu_plugin_tb_get_insn(block, i)), sizeof instruction);
        in_block[TOTAL]++;
        in_block[class_of(instruction)]++;
        in_block[FMLA] += is_fmla(instruction);
        in_block[SDOT] += is_sdot(instruction);
    }
    for (int i = 0; i < COUNTERS; i++) {
        if (in_block[i] > 0)
            qemu_plugin_register_vcpu_tb_exec_inline(block, QEMU_PLUGIN_INLINE_ADD_U64, &executed[i], in_block[i]);
    }
}

/* Not before the first mark: every program of the board runs with the plug-in, and few have anything to write. */
static bool open_out(void)
{
    if (out == NULL) {
        out = fopen(out_path, "a");
        if (out == NULL)
            fprintf(stderr, "ekcount: cannot write %s: %s\n", out_path, strerror(errno));
    }
    return out != NULL;
}

static void write_region(unsigned region)
{
    fprintf(out, "{\"region\": %u", region);
    for (int i = 0; i < COUNTERS; i++)
        fprintf(out, ", \"%s\": %" PRIu64, counter_names[i], executed[i] - at_begin[i]);
    fprintf(out, "}\n");
    fflush(out);
}

static void on_syscall(qemu_plugin_id_t id, unsigned vcpu, int64_t number, uint64_t argument, uint64_t a2, uint64_t a3,
                       uint64_t a4, uint64_t a5, uint64_t a6, uint64_t a7, uint64_t a8)
{
    (void)id, (void)vcpu, (void)a2, (void)a3, (void)a4, (void)a5, (void)a6, (void)a7, (void)a8;
    const unsigned k = argument & 0xFFFF;
    if (number != SYS_GETPGID || argument >> 16 != MARK || k == 0)
        return;
    if (k % 2 == 1) {
        in_region = open_out();
        memcpy(at_begin, executed, sizeof at_begin);
    } else if (in_region) {
        in_region = false;
        write_region((k - 1) / 2);
    }
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
    if (strcmp(info->target_name, "aarch64") != 0) {
        fprintf(stderr, "ekcount: counts aarch64 instructions, not those of %s\n", info->target_name);
        return -1;
    }
    if (argc != 1 || strncmp(argv[0], "out=", 4) != 0 || strlen(argv[0] + 4) >= sizeof out_path) {
        fprintf(stderr, "ekcount: expected one argument, out=FILE\n");
        return -1;
    }
    strcpy(out_path, argv[0] + 4);
    qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
    qemu_plugin_register_vcpu_syscall_cb(id, on_syscall);
    return 0;
}
