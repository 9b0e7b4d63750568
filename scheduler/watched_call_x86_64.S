// wr_call_watched on x86-64: a frame whose personality routine is watched_call.cc's. See there.
    .text

    .globl wr_call_watched
    .type wr_call_watched, @function
    .p2align 4
wr_call_watched:  // rdi: function, rsi: argument
    .cfi_startproc
    .cfi_personality 0x1b, warren_watch_throw  // 0x1b: a signed 32-bit distance
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    ret
    .cfi_endproc
    .size wr_call_watched, . - wr_call_watched

    .hidden warren_watch_throw

    .section .note.GNU-stack, "", @progbits
