package main

import _ "embed"

//go:embed bpf_arm64_bpfel.o
var object []byte
