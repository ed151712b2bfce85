package main

import _ "embed"

//go:embed bpf_powerpc_bpfel.o
var object []byte
