package image

// Ability is something that the guest or a loader uses where a kernel has it.
type Ability struct {
	Since   string // the first release of Linux with it; distributions may have it earlier
	What    string
	Without string // what a test loses on a kernel that has not
}

// Abilities are those that came after 4.14, the oldest release that init is for,
// oldest first.
func Abilities() []Ability {
	return []Ability{
		{"4.15", "names of BPF programs and maps", "the programs that a payload loaded are listed by type and tag alone"},
		{"4.18", "BTF of BPF programs", "their names are cut after 15 characters; line numbers are missing in the verifier's log"},
		{"4.19", "`random.trust_cpu`", "init gives the kernel what it starts its random numbers with"},
		{"5.0", "the PVH entry without Xen", "the kernel is started as it was shipped, and unpacks itself: 1 to 4 s more"},
		{"5.2", "the verifier's statistics, global variables in BPF objects", "a program's states and stack are not known; libbpf and ebpf-go load no object with global variables"},
		{"5.4", "the kernel's BTF in `/sys/kernel/btf`", "CO-RE needs `--btf`; fentry, BPF LSM and the built-in tracer do not load"},
		{"5.5", "fentry and fexit", "such programs do not load, the built-in tracer's among them"},
		{"5.7", "BPF LSM, links of BPF programs", "LSM programs do not load; XDP, cgroup and sk_lookup programs are attached in the old ways, or not"},
		{"5.8", "BPF ring buffers, iterators, parameters `sysctl.*`", "the built-in tracer does not load; a task that hangs is reported after 120 s, as the kernel has it"},
		{"5.11", "memory of BPF that counts as the process's group's", "it counts as locked memory: init lifts that limit, and a payload that sets one may run into it"},
		{"5.16", "the number of verified instructions in `bpf_prog_info`", "it is known only of programs whose loader asked the verifier for a log"},
	}
}
