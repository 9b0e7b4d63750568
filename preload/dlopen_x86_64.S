// dlopen(file, mode): asks warren_before_dlopen (deep_binding.h) and jumps to the next dlopen. A jump, so that it finds the
// return address into the program: it is what tells whose RUNPATH and $ORIGIN hold.
    .text

    .globl dlopen
    .type dlopen, @function
    .p2align 4
dlopen:  // rdi: file, esi: mode
    .cfi_startproc
    endbr64
    pushq %rdi
    .cfi_adjust_cfa_offset 8
    movl %esi, %edi
    call warren_before_dlopen
    popq %rdi
    .cfi_adjust_cfa_offset -8
    movl %edx, %esi
    jmp *%rax
    .cfi_endproc
    .size dlopen, . - dlopen

    .section .note.GNU-stack, "", @progbits
