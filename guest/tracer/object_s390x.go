package main

import _ "embed"

//go:embed bpf_s390_bpfeb.o
var object []byte
