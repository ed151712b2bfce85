package main

import "os"

// ownTypes is where a kernel has its types, if it has any.
const ownTypes = "/sys/kernel/btf/vmlinux"

// kernelTypes returns the file whose types take the place of the kernel's: what
// --btf gave, where the kernel has none at own. without says that there are none at
// all, although they were asked for.
func kernelTypes(given, own string) (file, without string) {
	if _, err := os.Stat(own); err == nil || given == "" {
		return "", ""
	}
	if _, err := os.Stat(given); err != nil {
		return "", "this kernel has no BTF, and --btf has no file for its release"
	}
	return given, ""
}
