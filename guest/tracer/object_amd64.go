package main

import _ "embed"

//go:embed bpf_x86_bpfel.o
var object []byte
