// Soak boots Debian's kernels again and again, with the built-in tracer and with
// a payload that does nothing, until so many VMs have run: none of them may
// crash, hang, or end in another way than the time before. Ended at any moment,
// it goes on where it was.
//
//	go run ./.github/tools/soak -dir /var/tmp/soak -boots 1000
//
// The directory gets what each run of bpf-kernel-check leaves, and boots.ndjson,
// one line for each result, which is only ever appended to.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

func main() {
	var s soak
	flag.StringVar(&s.bin, "bin", "bin/bpf-kernel-check", "the program")
	flag.StringVar(&s.dir, "dir", "", "directory that keeps all of it; outside of a checkout")
	flag.StringVar(&s.jobs, "j", "1", "VMs at a time")
	boots := flag.Int("boots", 1000, "VMs that are to run, those of earlier calls with this directory among them")
	table := flag.Bool("table", false, "boot nothing, print the table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := s.run(ctx, *boots, *table)
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

type soak struct {
	bin, dir, jobs string
	qemu           string // version
}

var payloads = []string{"empty", "tracer"}

func (s *soak) run(ctx context.Context, boots int, table bool) error {
	if s.dir == "" {
		return errors.New("-dir is missing: want a directory outside of a checkout")
	}
	for n := 1; !table; n++ {
		results, err := s.results()
		if err != nil {
			return err
		}
		if count(results) >= boots {
			break
		}
		if n == 1 {
			if err := s.prepare(ctx); err != nil {
				return err
			}
		}
		for _, p := range payloads {
			if err := s.round(ctx, n, p); err != nil {
				return err
			}
		}
	}
	results, err := s.results()
	if err != nil {
		return err
	}
	return s.print(results)
}

// suites are those whose kernels Debian may have; some have no backports.
var suites = []string{"bullseye", "bullseye-backports", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "forky-backports", "sid"}

// prepare pins the kernels and builds the payloads, once.
func (s *soak) prepare(ctx context.Context) error {
	arch, err := qemu.LookupArch("amd64")
	if err != nil {
		return err
	}
	path, err := qemu.Find(arch)
	if err == nil {
		s.qemu, err = qemu.Version(ctx, path)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	for name, pkg := range map[string]string{"empty": "./.github/tools/soak/empty", "tracer": "./guest/tracer"} {
		if _, err := os.Stat(s.path(name)); err == nil {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", s.path(name), pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", pkg, err, out)
		}
	}
	if _, err := os.Stat(s.path("plan.json")); err == nil {
		return nil
	}
	var sources []string
	var all []listed
	for _, suite := range suites {
		src := "debian:" + suite
		out, err := exec.CommandContext(ctx, s.bin, "list", "--json", "--kernels", src).Output()
		if err != nil {
			fmt.Printf("soak: without %s: %v\n", src, firstLine(err))
			continue
		}
		var some []listed
		if err := json.Unmarshal(out, &some); err != nil {
			return fmt.Errorf("list %s: %w", src, err)
		}
		sources, all = append(sources, src), append(all, some...)
	}
	ids := choose(all)
	if err := os.WriteFile(s.path("sources"), []byte(strings.Join(sources, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	if err := os.WriteFile(s.path("ids"), []byte(strings.Join(ids, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	args, err := s.kernels()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, s.bin, append([]string{"plan", "--shards", "1", "--out", s.path("plan.json")}, args...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

func firstLine(err error) string {
	var e *exec.ExitError
	if errors.As(err, &e) && len(e.Stderr) > 0 {
		line, _, _ := bytes.Cut(e.Stderr, []byte("\n"))
		return string(line)
	}
	return err.Error()
}

func (s *soak) path(name string) string { return filepath.Join(s.dir, name) }

// kernels are the arguments that name them.
func (s *soak) kernels() ([]string, error) {
	b, err := os.ReadFile(s.path("ids"))
	if err != nil {
		return nil, err
	}
	args := []string{"--kernels", "@" + s.path("sources")}
	for id := range strings.FieldsSeq(string(b)) {
		args = append(args, "--kernel", id)
	}
	return args, nil
}

// listed is a kernel as the command list has it.
type listed struct {
	ID      string `json:"id"`
	Name    string `json:"name"`
	Release string `json:"release"`
}

var flavourRE = regexp.MustCompile(`-(cloud-amd64|rt-amd64|amd64)$`)

// choose takes all kernels for clouds, and of the generic and the rt ones the
// newest of each series.
func choose(all []listed) []string {
	ids := map[string]bool{}
	newest := map[string]listed{}
	for _, k := range all {
		flavour := flavourRE.FindString(k.Release)
		if flavour == "-cloud-amd64" {
			ids[k.ID] = true
			continue
		}
		parts := strings.SplitN(k.Release, ".", 3)
		if len(parts) < 2 || flavour == "" {
			continue
		}
		of := parts[0] + "." + parts[1] + flavour
		if was, ok := newest[of]; !ok || report.CompareVersions(version(was), version(k)) < 0 {
			newest[of] = k
		}
	}
	for _, k := range newest {
		ids[k.ID] = true
	}
	sorted := make([]string, 0, len(ids))
	for id := range ids {
		sorted = append(sorted, id)
	}
	slices.Sort(sorted)
	return sorted
}

// version is that of the package: releases of two suites do not compare.
func version(k listed) string {
	_, v, _ := strings.Cut(k.Name, "__")
	return v
}

// round boots all kernels once with a payload: cold, and every other time from
// saved VMs. One that is done is left alone.
func (s *soak) round(ctx context.Context, n int, payload string) error {
	name := fmt.Sprintf("round-%03d-%s", n, payload)
	dir := s.path(filepath.Join("rounds", name))
	if f, err := readShard(dir); err == nil && f != nil && f.Problem == "" {
		return s.log(name, payload, f)
	}
	kernels, err := s.kernels()
	if err != nil {
		return err
	}
	what := []string{"--test", s.path("empty")}
	if payload == "tracer" {
		what = []string{"--events-trace", s.path("tracer")}
	}
	boot := "cold"
	if n%2 == 0 {
		boot = "auto"
	}
	args := slices.Concat([]string{"run", "--plan", s.path("plan.json"), "--accel", "tcg", "--boot", boot, "-j", s.jobs, "--resume", "--out", dir}, what, kernels)
	fmt.Printf("== %s, %s\n", name, boot)
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it writes what it knows
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err = cmd.Run()
	if ctx.Err() != nil {
		return errors.New("interrupted: the same command goes on here")
	}
	if code := cmd.ProcessState.ExitCode(); err != nil && code != report.ExitFail && code != report.ExitNotTested {
		return fmt.Errorf("%s: %w", name, err)
	}
	f, err := readShard(dir)
	if err != nil {
		return err
	}
	if f == nil {
		return fmt.Errorf("%s: no shard file", name)
	}
	return s.log(name, payload, f)
}

// readShard reads a run's results; nil: there are none.
func readShard(dir string) (*report.ShardFile, error) {
	names, err := filepath.Glob(filepath.Join(dir, "shard-*.ndjson"))
	if err != nil || len(names) == 0 {
		return nil, err
	}
	f, err := os.Open(names[len(names)-1])
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return report.ReadShardFile(f)
}

// boot is a line of boots.ndjson.
type boot struct {
	Round    string           `json:"round"`
	Payload  string           `json:"payload"`
	Kernel   string           `json:"kernel"`
	Verdict  string           `json:"verdict"`
	Cause    string           `json:"cause,omitempty"`
	VM       int64            `json:"vm_ns"`
	Attempts int              `json:"attempts"`
	History  []report.Attempt `json:"history,omitempty"`
	Accel    string           `json:"accel,omitempty"`
	Machine  string           `json:"machine,omitempty"`
	Boot     string           `json:"boot,omitempty"`
	QEMU     string           `json:"qemu"`
	Console  string           `json:"console,omitempty"`
}

// log appends a round's results, unless they are there.
func (s *soak) log(name, payload string, f *report.ShardFile) error {
	path := s.path("boots.ndjson")
	if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte(`{"round":"`+name+`"`)) {
		return nil
	}
	var lines bytes.Buffer
	for _, k := range f.Kernels {
		b := boot{
			Round: name, Payload: payload, Kernel: k.ID, Verdict: k.Verdict.String(), VM: k.Phases["vm"], Attempts: k.Attempts, History: k.History,
			Accel: k.Accel, Machine: k.Machine, Boot: k.Boot, QEMU: s.qemu, Console: filepath.Join("rounds", name, k.Console),
		}
		if k.Cause != nil {
			b.Cause = k.Cause.Title
		}
		if err := json.NewEncoder(&lines).Encode(b); err != nil {
			return err
		}
	}
	w, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	_, err = w.Write(lines.Bytes())
	return errors.Join(err, w.Close())
}

// result is one of a round that may still go on.
type result struct {
	round string
	report.Result
}

func (s *soak) results() ([]result, error) {
	dirs, err := filepath.Glob(s.path("rounds/round-*"))
	if err != nil {
		return nil, err
	}
	var all []result
	for _, dir := range dirs {
		f, err := readShard(dir)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", dir, err)
		}
		if f == nil {
			continue
		}
		for _, k := range f.Kernels {
			all = append(all, result{filepath.Base(dir), k})
		}
	}
	return all, nil
}

// vms is how many VMs were started for a result.
func (r result) vms() int {
	if r.Accel == "" {
		return 0
	}
	return r.Attempts
}

func count(results []result) (n int) {
	for _, r := range results {
		n += r.vms()
	}
	return n
}

var seriesRE = regexp.MustCompile(`^debian/(\d+\.\d+)`)

// print writes the table, and what is not a pass at the first attempt. An error
// says that there is something.
func (s *soak) print(results []result) error {
	type row struct{ kernels, vms, pass, again, notTested, failed int }
	rows := map[string]*row{}
	seen := map[string]bool{}
	var order, list []string
	total := &row{}
	for _, r := range results {
		name := r.ID
		if m := seriesRE.FindStringSubmatch(r.ID); m != nil {
			name = m[1]
		}
		if rows[name] == nil {
			rows[name] = &row{}
			order = append(order, name)
		}
		for _, x := range []*row{rows[name], total} {
			if !seen[r.ID] {
				x.kernels++
			}
			x.vms += r.vms()
			switch {
			case r.Verdict == report.Pass:
				x.pass++
				if r.Attempts > 1 {
					x.again++
				}
			case r.Verdict.Tested():
				x.failed++
			default:
				x.notTested++
			}
		}
		// A package that the mirror no longer has is told once, not each round.
		if r.vms() == 0 && seen[r.ID] {
			continue
		}
		seen[r.ID] = true
		if r.Verdict != report.Pass || r.Attempts > 1 {
			line := fmt.Sprintf("%s %s: %v", r.round, r.ID, r.Verdict)
			if r.Cause != nil {
				line += ": " + r.Cause.Title
			}
			for _, a := range r.Retried() {
				line += "; " + a.Words()
			}
			if r.Console != "" {
				line += "; " + s.path(filepath.Join("rounds", r.round, r.Console))
			}
			list = append(list, line)
		}
	}
	slices.SortFunc(order, report.CompareVersions)
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "series\tkernels\tVMs\tpass\tof them retried\tfail, crash, timeout\tnot tested\t")
	for _, name := range append(order, "all") {
		x := rows[name]
		if name == "all" {
			x = total
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\t%d\t%d\t%d\t\n", name, x.kernels, x.vms, x.pass, x.again, x.failed, x.notTested)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, l := range list {
		fmt.Println(l)
	}
	if total.failed > 0 || total.again > 0 {
		return fmt.Errorf("%d results are no pass, %d took more than one attempt", total.failed, total.again)
	}
	return nil
}
