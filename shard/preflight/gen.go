package preflight

// The objects of the tests and the documentation are committed, so that testing
// needs no clang. To make them again: Debian's clang, llvm and libbpf-dev, then
// go generate.
//go:generate sh testdata/build
