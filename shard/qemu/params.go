package qemu

import (
	"fmt"
	"slices"
	"strings"
)

// maxParams is the most bytes of further kernel parameters: a command line has
// 2048, and those of the VM and its payload come first.
const maxParams = 1024

// SplitParams splits lines of kernel parameters as the kernel does: at blanks that
// are not between double quotes.
func SplitParams(lines []string) ([]string, error) {
	var params []string
	size := 0
	for _, line := range lines {
		quoted := false
		at := strings.IndexFunc(line, func(r rune) bool { return r < ' ' || r > '~' })
		if at >= 0 {
			return nil, fmt.Errorf("%.100q has characters that are not printable ASCII: leave them out", line)
		}
		words := strings.FieldsFunc(line, func(r rune) bool {
			if r == '"' {
				quoted = !quoted
			}
			return r == ' ' && !quoted
		})
		if quoted {
			return nil, fmt.Errorf("%.100q has a double quote that is not closed: close it", line)
		}
		params = append(params, words...)
		size += len(line) + 1
	}
	if size > maxParams {
		return nil, fmt.Errorf("the parameters have %d bytes: want at most %d, since a kernel takes 2048 with those of the VM", size, maxParams)
	}
	return params, nil
}

// ParseParams is SplitParams for a VM whose verdict counts. It refuses what the
// verdict hangs on.
func ParseParams(lines []string) ([]string, error) {
	params, err := SplitParams(lines)
	if err != nil {
		return nil, err
	}
	for _, line := range lines {
		// Not everyone who reads the line knows of quotes: the kernel before it
		// starts and init take each word.
		for word := range strings.FieldsSeq(line) {
			if why := ownParam(word); why != "" {
				return nil, fmt.Errorf("%.100q: %s", word, why)
			}
		}
	}
	return params, nil
}

// ownParams are the parameters that are the VM's own. A name that ends with "*"
// stands for all that begin so.
var ownParams = []struct {
	names []string
	why   string
}{
	{[]string{"bkc.*"}, "init takes its orders by it: leave it out"},
	{
		[]string{"console", "earlycon", "earlyprintk", "keep_bootcon", "8250*", "amba_pl011*", "no_console_suspend", "console_msg_format", "conmode", "condev", "sclp*"},
		"the serial lines carry the console and the results: leave it out",
	},
	{
		[]string{"quiet", "debug", "loglevel", "ignore_loglevel", "printk*", "sysctl.kernel.printk*"},
		"what the kernel says decides the verdict, so the log levels are set: leave it out",
	},
	{
		[]string{
			"panic*", "oops*", "nowatchdog", "nmi_watchdog", "watchdog_thresh", "nosoftlockup", "softlockup_panic", "hung_task_panic", "hardlockup_panic", "warn_limit", "reboot", "crash_kexec_post_notifiers",
			"sysctl.kernel.panic*", "sysctl.kernel.oops*", "sysctl.kernel.soft*", "sysctl.kernel.watchdog*", "sysctl.kernel.nmi_watchdog", "sysctl.kernel.hung_task*", "rcupdate.rcu_cpu_stall*",
		},
		"a crash or a hang would no longer be seen as what it is: leave it out",
	},
	{
		[]string{"init", "rdinit", "initrd", "noinitrd", "root", "rootfstype", "rootflags", "rootwait", "rootdelay", "nfsroot", "ro", "rw", "bootconfig", "initcall_blacklist", "initcall_debug"},
		"the guest's init has to start: leave it out",
	},
	{[]string{"maxcpus", "nr_cpus", "possible_cpus", "nosmp"}, "--cpus says how many processors there are: leave it out"},
	{[]string{"mem", "memmap"}, "--memory says how much memory there is: leave it out"},
}

// ownParam says why a parameter is not for a user to set, "" if it is.
func ownParam(word string) string {
	word = strings.Trim(word, `"`)
	if strings.Trim(word, "-") == "" {
		return "the kernel takes no parameters behind it: leave it out"
	}
	// "-" and "_" are one to the kernel, and so are "/" and "." of a sysctl.
	name, _, _ := strings.Cut(word, "=")
	name = strings.NewReplacer("-", "_", "/", ".").Replace(name)
	for _, own := range ownParams {
		if slices.ContainsFunc(own.names, func(pattern string) bool {
			prefix, any := strings.CutSuffix(pattern, "*")
			return name == pattern || any && strings.HasPrefix(name, prefix)
		}) {
			return own.why
		}
	}
	return ""
}
