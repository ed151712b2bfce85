package shard

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

var corpus = flag.String("corpus", "", "make the consoles of guest/console/testdata anew whose names match this `REGEXP`")

// corpusKernels are the series that the corpus is made of: the newest of each.
var corpusKernels = []struct{ series, source, glob string }{
	{"5.10", "debian:bullseye:cloud-amd64", "debian/5.10.*"},
	{"6.1", vmSource, vmGlob},
	{"6.12", "debian:trixie:cloud-amd64", "debian/6.12.*"},
	{"7.2", "debian:sid:cloud-amd64", "debian/7.2*"},
}

// corpusCrashes are what the hostile payload does to them.
var corpusCrashes = []struct {
	name   string
	args   string
	series string // the only ones that can do it; "": all
	params string // further kernel parameters
	cpus   int
	init   bool // the payload is PID 1
}{
	{name: "panic-sysrq", args: "sysrq c"},
	{name: "panic-while-printing", args: "sysrq-loop-c", series: "6.1"},
	{name: "panic-init-exits", args: "exit 3", params: "-- exit 3", init: true},
	{name: "panic-oom", args: "eat", params: "sysctl.vm.panic_on_oom=1", series: "6.1 7.2"},
	{name: "oom", args: "eat", series: "6.1 7.2"},
	{name: "quoted", args: "claim-crash", series: "6.1"},
	{name: "pass", args: "pass"},
	{name: "warn", args: "crash warn"},
	{name: "warn-late", args: "crash late-warn", series: "6.1"},
	{name: "warn-then-bug", args: "crash-twice warn bug", series: "6.12"},
	{name: "refcount", args: "crash refcount"},
	{name: "list", args: "crash list"},
	{name: "bug", args: "crash bug"},
	{name: "null", args: "crash null"},
	{name: "null-thread", args: "crash thread-null"},
	{name: "jump", args: "crash jump", series: "5.10 7.2"},
	{name: "fault", args: "crash fault", series: "6.1 7.2"},
	{name: "gp", args: "crash gp"},
	{name: "divide", args: "crash divide", series: "6.1 7.2"},
	{name: "overflow", args: "crash overflow", series: "5.10"},
	{name: "atomic", args: "crash sleep-locked", series: "6.1 6.12 7.2"}, // the others do not count
	{name: "ubsan", args: "crash bounds", series: "7.2"},
	{name: "hung-task", args: "crash sleep hung_task_timeout_secs=2"},
	{name: "soft-lockup", args: "crash spin watchdog_thresh=2"},
	{name: "rcu-stall", args: "crash stall watchdog_thresh=60 /sys/module/rcupdate/parameters/rcu_cpu_stall_timeout=3", series: "5.10 6.1 7.2", cpus: 2}, // a CPU that begins grace periods
	{name: "kfence", args: "crash kfence", series: "6.12 7.2", params: "kfence.sample_interval=10"},
	{name: "poison", args: "crash poison", series: "6.1", params: "slub_debug=FZP"},
	{name: "hard-lockup", args: "crash dead nmi_watchdog=1 watchdog_thresh=5", series: "7.2", cpus: 2}, // a CPU that watches another
}

// TestMakeCorpus makes the corpus of guest/console anew, by really crashing
// kernels; go test ./guest/console -update then writes what is found in it.
func TestMakeCorpus(t *testing.T) {
	if *corpus == "" {
		t.Skip("asked for by -corpus only: the consoles are committed")
	}
	wanted, err := regexp.Compile(*corpus)
	if err != nil {
		t.Fatal(err)
	}
	l := theLab(t)
	version, err := qemu.Version(t.Context(), l.qemu)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range corpusKernels {
		for _, c := range corpusCrashes {
			name := c.name + "-" + k.series
			if !wanted.MatchString(name) || c.series != "" && !strings.Contains(" "+c.series+" ", " "+k.series+" ") {
				continue
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				src, err := source.Parse(k.source, l.cache)
				if err != nil {
					t.Fatal(err)
				}
				list, err := plan.New(t.Context(), []kernel.Source{src}, []string{k.glob})
				if err != nil {
					t.Fatal(err)
				}
				p, err := guest.TestPayload(t.Context(), l.hostile, strings.Fields(c.args), "/", "amd64", 40*time.Second)
				if err != nil {
					t.Fatal(err)
				}
				r := l.runner(t, p)
				r.Append, r.CPUs = strings.Fields(c.params), c.cpus
				if c.init {
					if r.InitProgram, err = os.ReadFile(l.hostile); err != nil {
						t.Fatal(err)
					}
				}
				result, console := l.run(t, r, list.Newest())
				t.Logf("%v %+v", result.Verdict, result.Cause)
				// The head is the runner's.
				if strings.HasPrefix(console, "bpf-kernel-check:") {
					_, console, _ = strings.Cut(console, "\n\n")
				}
				_, release, _ := strings.Cut(list.Newest().ID(), "/")
				release, _, _ = strings.Cut(release, "__")
				var b bytes.Buffer
				fmt.Fprintf(&b, "# Debian %s under QEMU %s, payload: shard/testdata/hostile %s\n", release, version, c.args)
				if c.params != "" || c.cpus > 1 {
					fmt.Fprintf(&b, "# with %d CPUs and the kernel parameters %q\n", max(1, c.cpus), c.params)
				}
				b.WriteString("\n" + console)
				if err := os.WriteFile(filepath.Join("..", "guest", "console", "testdata", name+".console"), b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			})
		}
	}
}
