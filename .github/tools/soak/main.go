// Soak boots Debian's kernels again and again, with the built-in tracer and with
// a payload that does nothing, until so many VMs have run: none of them may
// crash, hang, or end in another way than the time before. Ended at any moment,
// it goes on where it was.
//
//	go run ./.github/tools/soak -dir /var/tmp/soak -boots 1000
//
// The directory gets what each run of bpf-kernel-check leaves.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
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
	if err := s.run(ctx, *boots, *table); err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

type soak struct{ bin, dir, jobs string }

// payloads are the flags of run and the packages, by name.
var payloads = []struct{ name, flag, pkg string }{
	{"empty", "--test", "./.github/tools/soak/empty"},
	{"tracer", "--events-trace", "./guest/tracer"},
}

func (s *soak) run(ctx context.Context, boots int, table bool) error {
	if s.dir == "" {
		return errors.New("-dir is missing: want a directory outside of a checkout")
	}
	results, err := s.results()
	if err == nil && !table && count(results) < boots {
		err = s.prepare(ctx)
	}
	for n := 1; err == nil && !table && count(results) < boots; n++ {
		for _, p := range payloads {
			if err := s.round(ctx, fmt.Sprintf("round-%03d-%s", n, p.name), n%2 == 0, p.flag, s.path(p.name)); err != nil {
				return err
			}
		}
		results, err = s.results()
	}
	if err != nil {
		return err
	}
	return s.print(results)
}

// suites are those whose kernels Debian may have; some have no backports.
var suites = []string{"bullseye", "bullseye-backports", "bookworm", "bookworm-backports", "trixie", "trixie-backports", "forky", "forky-backports", "sid"}

// prepare pins the kernels and builds the payloads, once.
func (s *soak) prepare(ctx context.Context) error {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	for _, p := range payloads {
		if _, err := os.Stat(s.path(p.name)); err == nil {
			continue
		}
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", s.path(p.name), p.pkg)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("build %s: %w: %s", p.pkg, err, out)
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
	if err := os.WriteFile(s.path("sources"), []byte(strings.Join(sources, "\n")+"\n"), 0o644); err != nil {
		return err
	}
	args := []string{"plan", "--shards", "1", "--out", s.path("plan.json"), "--kernels", "@" + s.path("sources")}
	for _, id := range choose(all) {
		args = append(args, "--kernel", id)
	}
	cmd := exec.CommandContext(ctx, s.bin, args...)
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
	return slices.Sorted(maps.Keys(ids))
}

// version is that of the package: releases of two suites do not compare.
func version(k listed) string {
	_, v, _ := strings.Cut(k.Name, "__")
	return v
}

// round boots all kernels once with a payload: cold, and every other time from
// saved VMs. One that is done is left alone.
func (s *soak) round(ctx context.Context, name string, warm bool, payload ...string) error {
	dir := s.path(filepath.Join("rounds", name))
	if f, err := readShard(dir); err == nil && f != nil && f.Problem == "" {
		return nil
	}
	boot := "cold"
	if warm {
		boot = "auto"
	}
	args := slices.Concat([]string{"run", "--plan", s.path("plan.json"), "--kernels", "@" + s.path("sources"), "--accel", "tcg", "--boot", boot, "-j", s.jobs, "--resume", "--out", dir}, payload)
	fmt.Printf("== %s, %s\n", name, boot)
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it writes what it knows
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	err := cmd.Run()
	if ctx.Err() != nil {
		return errors.New("interrupted: the same command goes on here")
	}
	if code := cmd.ProcessState.ExitCode(); err != nil && code != report.ExitFail && code != report.ExitNotTested {
		return fmt.Errorf("%s: %w", name, err)
	}
	f, err := readShard(dir)
	if err == nil && f == nil {
		err = fmt.Errorf("%s: no shard file", name)
	}
	return err
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
