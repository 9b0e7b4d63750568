// The context switch on x86-64. See context.h for the layout of a saved stack.
// No shadow stacks: the note at the end claims nothing of the kind.
    .text

    .globl warren_switch
    .hidden warren_switch
    .type warren_switch, @function
    .p2align 4
warren_switch:  // rdi: save, rsi: sp, rdx: m
    .cfi_startproc
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    pushq %r12
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r12, 0
    pushq %r13
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r13, 0
    pushq %r14
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r14, 0
    pushq %r15
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %r15, 0
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    stmxcsr (%rsp)
    fnstcw 4(%rsp)
    movl (%rsp), %eax
    movzwl 4(%rsp), %ecx
    movq %rsp, (%rdi)
    // From here on the other stack, of the same shape: the unwind information holds for both.
    movq %rsi, %rsp
    // Loading the control words is slow and rarely needed: when modes and masks differ, not the flags of past results.
    xorl (%rsp), %eax
    testl $0xffc0, %eax
    jne 2f
1:  cmpw 4(%rsp), %cx
    jne 3f
4:  addq $8, %rsp
    .cfi_remember_state
    .cfi_adjust_cfa_offset -8
    popq %r15
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r15
    popq %r14
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r14
    popq %r13
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r13
    popq %r12
    .cfi_adjust_cfa_offset -8
    .cfi_restore %r12
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    movq %rdx, %rax
    leaq warren_fiber_start(%rip), %rcx
    cmpq %rcx, (%rsp)
    je 5f
    ret  // not a jump: two fibers that switch at the same place find the return predicted
5:  addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    jmp warren_fiber_start  // not a return: nobody called it, so that the prediction would be wrong for sure
2:  .cfi_restore_state
    ldmxcsr (%rsp)
    jmp 1b
3:  fldcw 4(%rsp)
    jmp 4b
    .cfi_endproc
    .size warren_switch, . - warren_switch

    .globl warren_switch_for_good
    .hidden warren_switch_for_good
    .type warren_switch_for_good, @function
    .p2align 4
warren_switch_for_good:  // rdi: sp, rsi: m
    .cfi_startproc
    stmxcsr -8(%rsp)  // nobody comes back to this stack, and no signal handler writes into the 128 bytes below it
    fnstcw -4(%rsp)
    movl -8(%rsp), %eax
    movzwl -4(%rsp), %ecx
    movq %rdi, %rsp
    .cfi_def_cfa_offset 64
    .cfi_rel_offset %r15, 8
    .cfi_rel_offset %r14, 16
    .cfi_rel_offset %r13, 24
    .cfi_rel_offset %r12, 32
    .cfi_rel_offset %rbx, 40
    .cfi_rel_offset %rbp, 48
    // As in warren_switch.
    xorl (%rsp), %eax
    testl $0xffc0, %eax
    jne 2f
1:  cmpw 4(%rsp), %cx
    jne 3f
4:  movq 8(%rsp), %r15
    movq 16(%rsp), %r14
    movq 24(%rsp), %r13
    movq 32(%rsp), %r12
    movq 40(%rsp), %rbx
    movq 48(%rsp), %rbp
    movq 56(%rsp), %rcx
    movq %rsi, %rax
    .cfi_remember_state
    .cfi_restore %r15
    .cfi_restore %r14
    .cfi_restore %r13
    .cfi_restore %r12
    .cfi_restore %rbx
    .cfi_restore %rbp
    addq $64, %rsp
    .cfi_def_cfa_offset 0
    .cfi_register %rip, %rcx
    // A jump: what a return would be predicted from is the ended fiber's, while most often it is the start of the next one, or the
    // place where fibers park.
    jmp *%rcx
2:  .cfi_restore_state
    ldmxcsr (%rsp)
    jmp 1b
3:  fldcw 4(%rsp)
    jmp 4b
    .cfi_endproc
    .size warren_switch_for_good, . - warren_switch_for_good

    .globl warren_fiber_start
    .hidden warren_fiber_start
    .type warren_fiber_start, @function
    .p2align 4
    .cfi_startproc
    .cfi_undefined %rip
    nop  // unwinders look the return address up less one
warren_fiber_start:  // rax: m
    movq %rax, %rdi
    call warren_fiber_main
    ud2
    .cfi_endproc
    .size warren_fiber_start, . - warren_fiber_start

    .globl warren_call_on_saved
    .hidden warren_call_on_saved
    .type warren_call_on_saved, @function
    .p2align 4
warren_call_on_saved:  // rdi: sp, rsi: function, rdx: argument
    .cfi_startproc
    pushq %rbp
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbp, 0
    pushq %rbx
    .cfi_adjust_cfa_offset 8
    .cfi_rel_offset %rbx, 0
    movq %rsp, %rbp
    movq %rdi, %rbx
    leaq -16(%rdi), %rsp  // as aligned as the saved sp, which is 16-aligned less 0: 64 bytes below an aligned call
    movq %rbp, (%rsp)
    movq %rdx, %rdi
    // While the function runs, the frame above it is the saved one.
    .cfi_remember_state
    .cfi_def_cfa %rsp, 16 + 64
    .cfi_offset %rip, -8
    .cfi_offset %rbp, -16
    .cfi_offset %rbx, -24
    .cfi_offset %r12, -32
    .cfi_offset %r13, -40
    .cfi_offset %r14, -48
    .cfi_offset %r15, -56
    call *%rsi
    .cfi_restore_state
    movq (%rsp), %rsp
    popq %rbx
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbx
    popq %rbp
    .cfi_adjust_cfa_offset -8
    .cfi_restore %rbp
    ret
    .cfi_endproc
    .size warren_call_on_saved, . - warren_call_on_saved

    .hidden warren_fiber_main

    .section .note.GNU-stack, "", @progbits
