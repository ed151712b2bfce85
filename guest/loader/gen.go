package main

// The objects of the tests are committed, so that testing needs no clang. To
// make them again: Debian's clang, llvm and libbpf-dev, then go generate.
//go:generate sh testdata/build
//go:generate sh ../../cmd/bpf-kernel-check/testdata/objects/build
