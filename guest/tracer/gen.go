package main

// The BPF objects are committed, so that building needs no clang. To make them
// again: Debian's clang, llvm and libbpf-dev, then go generate.
//go:generate go tool bpf2go -go-package main -target amd64,arm64 -cc clang-14 -strip llvm-strip-14 -output-stem bpf -no-global-types bpf bpf/tracer.bpf.c -- -O2 -g -Wall -Werror -mcpu=v2
