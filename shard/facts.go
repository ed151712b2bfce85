package shard

import (
	"os"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

// hostFacts are those that are read from the kernel's files, without booting
// it. What cannot be read is left out: facts explain verdicts and decide none.
func hostFacts(im *kernel.Image) report.Facts {
	var f report.Facts
	if im.Config != "" {
		if file, err := os.Open(im.Config); err == nil {
			f.Config, _ = wire.ParseConfig(file)
			file.Close()
		}
	}
	return f
}

// guestFacts adds what the running kernel says of itself.
func guestFacts(f report.Facts, k *wire.Kernel) *report.Facts {
	f.BTF, f.PreemptRT = k.BTF, k.PreemptRT
	f.Lockdown = report.OneLine(k.Lockdown, 50)
	f.UnprivilegedBPF = report.OneLine(k.UnprivilegedBPF, 50)
	f.JIT, f.JITHarden = report.OneLine(k.JIT, 50), report.OneLine(k.JITHarden, 50)
	for _, lsm := range k.LSMs[:min(len(k.LSMs), 32)] {
		f.LSMs = append(f.LSMs, report.OneLine(lsm, 50))
	}
	if len(k.Config) > 0 {
		f.Config = map[string]string{}
		for _, o := range wire.ConfigOptions() {
			if v, ok := k.Config[o]; ok {
				f.Config[o] = report.OneLine(v, 200)
			}
		}
	}
	return &f
}

// lsmNote says that LSM programs of a payload never run on a kernel, and what would
// change that; "" if they do, or nothing is known. They load and attach all the
// same.
func lsmNote(p guest.Payload, f *report.Facts) string {
	objects, are := p.Objects()
	if f == nil || len(f.LSMs) == 0 || slices.Contains(f.LSMs, "bpf") || f.Config["BPF_LSM"] == "n" || are && !objects.Attach ||
		!slices.ContainsFunc(p.Targets, func(t string) bool { return strings.HasPrefix(t, "lsm/") || strings.HasPrefix(t, "lsm.s/") }) {
		return ""
	}
	// capability is always there, and not for the parameter to name.
	active := slices.DeleteFunc(slices.Clone(f.LSMs), func(l string) bool { return l == "capability" })
	return "programs of type LSM never run here, although they can be attached: bpf is not among the kernel's active LSMs: --append lsm=" + strings.Join(append(active, "bpf"), ",")
}

// missingTargets are the sections whose targets the kernel lacks, sorted.
func missingTargets(f *report.Facts) []string {
	var missing []string
	if f != nil {
		for t, has := range f.Targets {
			if !has {
				missing = append(missing, t)
			}
		}
	}
	slices.Sort(missing)
	return missing
}
