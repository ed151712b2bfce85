package main

import _ "embed"

//go:embed bpf_riscv_bpfel.o
var object []byte
