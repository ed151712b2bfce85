package main

// The BPF objects are committed, so that building needs no clang. To make them
// again: Debian's clang, llvm and libbpf-dev, then go generate.
//go:generate sh bpf/build
