package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github/githubtest"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/gcstest"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// The workflow runner, and what stands in for GitHub's own actions: their
// repositories do not hold what they run, and act has no network here.
const (
	actModule  = "github.com/nektos/act"
	actVersion = "v0.2.89"
)

// actTools are what all scenarios share. They are kept in the user's cache
// directory between runs.
type actTools struct {
	act     string // program
	modules string // node_modules
	tools   string // of act: RUNNER_TOOL_CACHE is in it, and the jobs' directories
	kernels string // a directory of three kernels
	dir     string // of all this
}

var actOnce = sync.OnceValues(func() (actTools, error) {
	var t actTools
	cache, err := os.UserCacheDir()
	if err != nil {
		return t, err
	}
	dir := filepath.Join(cache, "bpf-kernel-check-test")
	t.tools = filepath.Join(dir, "tools")
	if t.act, err = installAct(filepath.Join(dir, "act-"+actVersion)); err != nil {
		return t, err
	}
	if t.modules, err = installModules(dir); err != nil {
		return t, err
	}
	t.dir = dir
	t.kernels, err = linkKernels(dir, threeSuites...)
	return t, err
})

func installAct(dir string) (string, error) {
	program := filepath.Join(dir, "act")
	if exists(program) {
		return program, nil
	}
	cmd := exec.Command("go", "install", actModule+"@"+actVersion)
	cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("install act: %w\n%s", err, out)
	}
	return program, nil
}

// installModules installs what the stand-ins need, in a directory by the lock
// file's content.
func installModules(dir string) (string, error) {
	lock, err := os.ReadFile("testdata/act/package-lock.json")
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(lock)
	final := filepath.Join(dir, "npm-"+hex.EncodeToString(sum[:8]))
	if exists(final) {
		return filepath.Join(final, "node_modules"), nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "npm-tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	for _, name := range []string{"package.json", "package-lock.json"} {
		b, err := os.ReadFile(filepath.Join("testdata/act", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(tmp, name), b, 0o644)
		}
		if err != nil {
			return "", err
		}
	}
	cmd := exec.Command("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts")
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return filepath.Join(final, "node_modules"), publishDir(tmp, final)
}

// publishDir gives a directory its name, unless somebody else was faster.
func publishDir(tmp, final string) error {
	if err := os.Rename(tmp, final); err != nil && !exists(final) {
		return err
	}
	return nil
}

// threeSuites are kernels of three series, and so none is like another.
var threeSuites = []suite{{"bullseye", "debian/5.10.*", 1}, {"bookworm", "debian/6.1.*", 1}, {"trixie", "debian/6.12.*", 1}}

type suite struct {
	name, glob string
	newest     int // how many
}

// linkKernels makes a directory source of the newest cloud kernels of suites.
func linkKernels(dir string, suites ...suite) (string, error) {
	ctx := context.Background()
	cacheDir, err := kernel.DefaultCacheDir()
	if err != nil {
		return "", err
	}
	cache, err := kernel.NewCache(cacheDir)
	if err != nil {
		return "", err
	}
	links := map[string]string{} // names in the directory, and where they lead
	for _, k := range suites {
		src, err := source.Parse("debian:"+k.name+":cloud-amd64", cache)
		if err != nil {
			return "", err
		}
		list, err := plan.New(ctx, []kernel.Source{src}, []string{k.glob})
		if err != nil {
			return "", err
		}
		slices.SortFunc(list.Entries, func(a, b plan.Entry) int { return report.CompareVersions(b.Name, a.Name) })
		for _, e := range list.Entries[:min(k.newest, len(list.Entries))] {
			image, err := src.Open(ctx, e.Ref)
			if err != nil {
				return "", err
			}
			links["vmlinuz-"+e.Release] = image.Kernel
		}
	}
	// Another run of these tests may be using its directory.
	sum := sha256.Sum256([]byte(fmt.Sprint(links)))
	final := filepath.Join(dir, "kernels-"+hex.EncodeToString(sum[:8]))
	if exists(final) {
		return final, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, "kernels-tmp-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	if err := os.Mkdir(filepath.Join(tmp, "debian"), 0o755); err != nil {
		return "", err
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(tmp, "debian", name)); err != nil {
			return "", err
		}
	}
	return final, publishDir(tmp, final)
}

// actRun is a repository on a GitHub with a runner.
type actRun struct {
	t        *testing.T
	tools    actTools
	github   *githubtest.GitHub
	repo     string
	state    string // of act: artifacts, caches
	api      string
	id       int // of the workflow run
	attempt  int
	reusable bool // workflow: act takes its inputs from variables, too
	env      []string
	vars     []string
	locals   []string // further --local-repository
	output   string   // of the last run
}

// newAct copies files of this repository into one of their own. Without files,
// all that git knows.
func newAct(t *testing.T) *actRun {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: it boots VMs")
	}
	t.Parallel()
	actSlots <- struct{}{}
	t.Cleanup(func() { <-actSlots })
	tools, err := actOnce()
	if err != nil {
		t.Fatal(err)
	}
	gh := githubtest.New(t)
	server := httptest.NewServer(gh)
	t.Cleanup(server.Close)
	return &actRun{
		t: t, tools: tools, github: gh, repo: filepath.Join(t.TempDir(), "probe"), state: t.TempDir(), api: server.URL, id: 1, attempt: 1,
		vars: []string{"BPF_KERNELS=" + tools.kernels},
	}
}

// actSlots is how many scenarios run at a time: each boots one VM at a time.
var actSlots = make(chan struct{}, 2)

// checkout fills the repository with this one's files.
func (a *actRun) checkout() {
	a.t.Helper()
	copyRepository(a.t, a.repo)
}

// copyRepository copies what git knows of this repository, but for test data.
func copyRepository(t *testing.T, dir string) {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = repository
	list, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(list), "\x00"), "\x00") {
		if strings.Contains(name, "/testdata/") {
			continue
		}
		b, err := os.ReadFile(filepath.Join(repository, name))
		if os.IsNotExist(err) {
			continue // removed, and not committed yet
		}
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(filepath.Join(repository, name))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
}

// oneKernel is one of the three.
func (a *actRun) oneKernel() string {
	a.t.Helper()
	found, err := filepath.Glob(filepath.Join(a.tools.kernels, "debian/vmlinuz-6.1.*"))
	if err != nil || len(found) != 1 {
		a.t.Fatalf("%v, %v", found, err)
	}
	return found[0]
}

func (a *actRun) write(name, text string, perm os.FileMode) {
	a.t.Helper()
	path := filepath.Join(a.repo, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), perm); err != nil {
		a.t.Fatal(err)
	}
}

// edit replaces text in a file of the repository.
func (a *actRun) edit(name, old, new string) {
	a.t.Helper()
	b, err := os.ReadFile(filepath.Join(a.repo, name))
	if err != nil {
		a.t.Fatal(err)
	}
	if strings.Count(string(b), old) != 1 {
		a.t.Fatalf("%s has %q %d times", name, old, strings.Count(string(b), old))
	}
	a.write(name, strings.Replace(string(b), old, new, 1), 0o644)
}

func (a *actRun) command(dir, name string, args ...string) string {
	a.t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		a.t.Fatalf("%s %q: %v\n%s", name, args, err, stderr.Bytes())
	}
	return string(out)
}

func (a *actRun) commit() {
	a.t.Helper()
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"},
		{"remote", "add", "origin", "https://github.com/octo/probe"},
		{"add", "-A"},
		{"-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-q", "-m", "probe"},
	} {
		a.command(a.repo, "git", args...)
	}
}

// standIns are the repositories that act takes from this directory, by name.
var standIns = []string{"actions/upload-artifact", "actions/download-artifact", "actions/cache", "actions/setup-go", "actions/github-script", "google-github-actions/auth"}

// run runs a workflow for an event and returns whether it succeeded.
func (a *actRun) run(workflow, event, payload string, more ...string) bool {
	a.t.Helper()
	eventFile := filepath.Join(a.t.TempDir(), "event.json")
	if err := os.WriteFile(eventFile, []byte(payload), 0o644); err != nil {
		a.t.Fatal(err)
	}
	// An address of its own: nobody takes a port of it between freePort and act.
	host := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), rand.IntN(256), 1+rand.IntN(254))
	args := []string{
		event, "-W", ".github/workflows/" + workflow, "-e", eventFile,
		"-P", "ubuntu-latest=-self-hosted",
		"--artifact-server-path", filepath.Join(a.state, "artifacts"), "--artifact-server-addr", host, "--artifact-server-port", freePort(a.t, host),
		"--cache-server-path", filepath.Join(a.state, "cache"), "--cache-server-addr", host, // which finds a port itself
		"--action-cache-path", a.tools.tools, "--action-offline-mode",
		"--concurrent-jobs", "1",
		"-s", "GITHUB_TOKEN=secret",
	}
	// act's server cannot list the artifacts of a run that has none.
	if err := os.MkdirAll(filepath.Join(a.state, "artifacts", fmt.Sprint(a.id)), 0o755); err != nil {
		a.t.Fatal(err)
	}
	pins := regexp.MustCompile(`uses: (([\w-]+/[\w-]+)[\w/-]*@([0-9a-f]{40}))`)
	for _, file := range readRepository(a.t) {
		for _, m := range pins.FindAllSubmatch(file, -1) {
			for _, s := range standIns {
				if s == string(m[2]) {
					args = append(args, "--local-repository", fmt.Sprintf("%s@%s=%s", s, m[3], standIn(a.t, filepath.Base(s))))
				}
			}
		}
	}
	for _, l := range a.locals {
		args = append(args, "--local-repository", l)
	}
	for _, v := range a.vars {
		args = append(args, "--var", v)
	}
	env := append([]string{
		"GITHUB_API_URL=" + a.api,
		fmt.Sprintf("GITHUB_RUN_ID=%d", a.id),
		fmt.Sprintf("GITHUB_RUN_ATTEMPT=%d", a.attempt),
		"NODE_PATH=" + a.tools.modules,
	}, a.env...)
	if !a.reusable {
		// GitHub sets none in composite actions, act does.
		env = append(env, "INPUT_KERNELS=poisoned", "INPUT_TEST=poisoned")
	}
	for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOFLAGS", "GOPROXY"} {
		env = append(env, name+"="+strings.TrimSpace(a.command(".", "go", "env", name)))
	}
	for _, e := range env {
		args = append(args, "--env", e)
	}
	// On a busy machine a run takes as long as it takes: what ends one that hangs
	// is the test's own limit, early enough for its log to be shown.
	ctx := a.t.Context()
	if end, ok := a.t.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, end.Add(-time.Minute))
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, a.tools.act, append(args, more...)...)
	cmd.Dir = a.repo
	// Where these tests run in a workflow themselves, its variables are not ours.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool {
		return regexp.MustCompile(`^(GITHUB|RUNNER|ACTIONS|INPUT|CI)(_|=)`).MatchString(e)
	})
	cmd.Env = append(cmd.Env, "XDG_CACHE_HOME="+filepath.Join(a.state, "xdg"), "HOME="+filepath.Join(a.state, "home"))
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	a.output = out.String()
	a.t.Cleanup(func() {
		if a.t.Failed() {
			a.t.Logf("act %s:\n%s", workflow, out.String())
		}
	})
	return err == nil
}

// standIn is the directory of what stands in for one of GitHub's own actions.
func standIn(t *testing.T, name string) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("testdata/act/actions", name))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func freePort(t *testing.T, host string) string {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

const (
	actPull = `{"number":7,"pull_request":{"number":7,"head":{"sha":"` + githubtest.HeadSHA + `","ref":"topic"},"base":{"ref":"main"}},"repository":{"full_name":"octo/probe","name":"probe","owner":{"login":"octo"},"default_branch":"main"}}`
)

// statuses are the states that were set, in turn, with the last description.
func (a *actRun) statuses() (states []string, last string) {
	for _, s := range a.github.Statuses {
		states = append(states, fmt.Sprint(s["state"]))
		last = fmt.Sprint(s["description"])
	}
	return states, last
}

func (a *actRun) comment() string {
	a.t.Helper()
	if len(a.github.Comments) != 1 {
		a.t.Fatalf("%d comments, want one", len(a.github.Comments))
	}
	return a.github.Comments[0].Body
}

// wantStatus checks the last status.
func (a *actRun) wantStatus(state, description string) {
	a.t.Helper()
	states, last := a.statuses()
	if len(states) == 0 || states[len(states)-1] != state || !regexp.MustCompile(description).MatchString(last) {
		a.t.Errorf("statuses %q, the last %q: want %s, %s", states, last, state, description)
	}
}

func (a *actRun) wantComment(patterns ...string) {
	a.t.Helper()
	body := a.comment()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(body) {
			a.t.Errorf("the comment has no %s:\n%s", p, body)
		}
	}
}

func TestActPullRequest(t *testing.T) {
	a := newAct(t)
	a.checkout()
	a.commit()
	if !a.run("pr.yml", "pull_request", actPull) {
		t.Error("the workflow failed")
	}
	a.wantStatus("success", "3")
	a.wantComment(`all 3 kernels pass`)
}

func TestActKernelFails(t *testing.T) {
	a := newAct(t)
	a.checkout()
	a.edit(".github/example/probe/probe_test.go", "	if n == 0 {", "	if release, _ := os.ReadFile(\"/proc/sys/kernel/osrelease\"); string(release[:4]) == \"6.1.\" {")
	a.commit()
	if a.run("pr.yml", "pull_request", actPull) {
		t.Error("the workflow succeeded")
	}
	a.wantStatus("failure", "1")
	a.wantComment(`6\.1\.`, `the program saw no fork`)
	a.readme()
}

// readme compares the comment that the documents show with this one: they differ
// in numbers and hashes alone.
func (a *actRun) readme() {
	a.t.Helper()
	const page = ".github/docs/results.md"
	b, err := os.ReadFile(filepath.Join(repository, page))
	if err != nil {
		a.t.Fatal(err)
	}
	_, body, _ := strings.Cut(a.comment(), "\n") // without the hidden marker
	body = strings.ReplaceAll(body, a.tools.kernels, "debian:bookworm:cloud-amd64")
	old := string(b)
	doc := replaceBetween(a.t, old, "report", strings.TrimSpace(body)+"\n")
	// The program's version is that of the first commit it was built from.
	volatile := regexp.MustCompile(`\(devel\)|v0\.0\.0-[0-9]+-[0-9a-f]+(\+dirty)?|[0-9a-f]*[0-9]+[0-9a-f]*|TCG|KVM`)
	// Whether the guest sees a program that lives for a moment is chance.
	costs := regexp.MustCompile(`#### Besides\n\n- \*\*Costs:.*\n\n`)
	plain := func(s string) string { return volatile.ReplaceAllString(costs.ReplaceAllString(s, ""), "N") }
	if plain(doc) == plain(old) {
		return
	}
	golden(a.t, page, doc)
}

// A job that dies leaves nothing, and the report cannot be green. Run again, it
// is: of the other shards the first attempt counts.
func TestActShardDies(t *testing.T) {
	a := newAct(t)
	a.checkout()
	a.commit()
	a.env = []string{"DIE=" + filepath.Join(a.state, "died")}
	if a.run("pr.yml", "pull_request", actPull) {
		t.Error("the workflow succeeded")
	}
	a.wantStatus("error", "")
	a.wantComment(`shard \d of 3 left no shard file`)
	m := regexp.MustCompile(`shard (\d) of 3 left`).FindStringSubmatch(a.comment())
	if m == nil {
		t.Fatal(a.comment())
	}

	a.attempt = 2
	if !a.run("pr.yml", "pull_request", actPull, "--matrix", "shard:"+m[1]) {
		t.Error("the second attempt failed")
	}
	if n := strings.Count(a.output, "Run Main Boot kernels"); n != 1 {
		t.Errorf("%d shards ran again, want one", n)
	}
	a.wantStatus("success", "3")
	a.wantComment(`all 3 kernels pass`, `attempt 2`)
}

// A night that is not green opens an issue; it leaves kernels and times for
// later runs.
func TestActNightly(t *testing.T) {
	a := newAct(t)
	a.vars = []string{"BPF_KERNELS=" + a.oneKernel()}
	a.checkout()
	a.edit(".github/example/probe/probe_test.go", "	if n == 0 {", "	if os.Getpid() > 0 {")
	a.commit()
	a.github.SHA = strings.TrimSpace(a.command(a.repo, "git", "rev-parse", "HEAD"))
	if a.run("nightly.yml", "schedule", `{"schedule":"17 2 * * *"}`) {
		t.Error("the workflow succeeded")
	}
	if len(a.github.Issues) != 1 || a.github.Issues[0].State != "open" || !strings.Contains(a.github.Issues[0].Body, "the program saw no fork") {
		t.Errorf("issues %+v", a.github.Issues)
	}
	if !strings.Contains(a.output, "1 of 1 kernel saved in the cache") {
		t.Error("the kernel is not kept")
	}
	saved := regexp.MustCompile(`saved cache (\S+) as \d+`).FindAllStringSubmatch(a.output, -1)
	var keys []string
	for _, m := range saved {
		if !strings.HasPrefix(m[1], "bpf-kernel-check-program-") { // where no test before has built it
			keys = append(keys, m[1])
		}
	}
	a.wantStatus("failure", "1")
	if !slices.Equal(keys, []string{"bpf-kernel-check-index-1-attempt1", "bpf-kernel-check-base-1-attempt1"}) {
		t.Errorf("caches %q", keys)
	}
	if len(a.github.Comments) != 0 {
		t.Errorf("comments %+v", a.github.Comments)
	}

	// A pull request's plan finds the night's times, and leaves nothing itself.
	a.id = 2
	if !a.run("pr.yml", "pull_request", actPull, "-j", "plan") {
		t.Error("the pull request's plan failed")
	}
	if !strings.Contains(a.output, "cache: bpf-kernel-check-base-") || !strings.Contains(a.output, "cache: bpf-kernel-check-index-") || strings.Contains(a.output, "saved cache") || !strings.Contains(a.output, "VM time") {
		t.Error("the pull request did not restore, or it saved")
	}
}

// A night of nine shards leaves its kernels one by one, and a pull request of three
// shards downloads none.
func TestActKernelsAreKept(t *testing.T) {
	a := newAct(t)
	bucket := gcstest.Start(t)
	bucket.Bucket(t, "kernels")
	files, err := filepath.Glob(filepath.Join(a.tools.kernels, "debian/*"))
	if err != nil || len(files) != 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		bucket.Put(t, "kernels", "debian/"+filepath.Base(file), b)
	}
	proxy := bucket.Proxy(t, func(gcstest.Request) gcstest.Fault { return gcstest.Fault{} })
	a.env = []string{"STORAGE_EMULATOR_HOST=" + proxy.Host}
	a.vars = []string{"BPF_KERNELS=gs://kernels"}
	a.checkout()
	a.edit(".github/workflows/nightly.yml", "target-minutes: 15", "shards: 9")
	a.commit()
	if !a.run("nightly.yml", "schedule", `{"schedule":"17 2 * * *"}`, "-j", "kernels") {
		t.Fatal("the night failed")
	}
	_, night := proxy.Sent()
	if night != 6 {
		t.Errorf("the night downloaded %d times, want 3 for the index and 3 to boot", night)
	}
	a.id = 2
	if !a.run("pr.yml", "pull_request", actPull, "-j", "kernels") {
		t.Error("the pull request failed")
	}
	if n := strings.Count(a.output, "[PASS]"); n != 3 {
		t.Errorf("%d kernels pass in the pull request, want 3", n)
	}
	if _, all := proxy.Sent(); all != night {
		t.Errorf("the pull request downloaded %d times", all-night)
	}
	if strings.Contains(a.output, "saved in the cache") {
		t.Error("the pull request saved kernels")
	}
}

// A night boots all kernels and keeps their index. By that a pull request boots one
// of two that are alike to an object, and says so wherever people look.
func TestActPicks(t *testing.T) {
	a := newAct(t)
	a.reusable = true
	tree := filepath.Join(t.TempDir(), "tag")
	copyRepository(t, tree)
	a.locals = []string{"elastic/bpf-kernel-check@v1=" + tree}
	kernels, err := linkKernels(a.tools.dir, suite{"bookworm", "debian/6.1.*", 2})
	if err != nil {
		t.Fatal(err)
	}
	a.vars = []string{"BPF_KERNELS=" + kernels}
	check, object := readText(t, filepath.Join(repository, ".github/workflows/check.yml")), readText(t, filepath.Join(repository, "guest/loader/testdata/ringbuf.bpf.o"))
	a.write(".github/workflows/check.yml", check, 0o644)
	a.write("bpf/ringbuf.bpf.o", object, 0o644)
	a.write(".github/workflows/kernels.yml", `on: [schedule, pull_request]
jobs:
  kernels:
    uses: ./.github/workflows/check.yml
    with:
      kernels: ${{ vars.BPF_KERNELS }}
      objects: bpf/*.bpf.o
      keep-index: true
      pick: ${{ github.event_name == 'pull_request' && 'kinds' || '' }}
      shards: 1
      pending: true
`, 0o644)
	a.commit()
	a.github.SHA = strings.TrimSpace(a.command(a.repo, "git", "rev-parse", "HEAD"))
	if !a.run("kernels.yml", "schedule", `{"schedule":"17 2 * * *"}`) {
		t.Error("the night failed")
	}
	for _, want := range []string{"saved cache bpf-kernel-check-index-1-attempt1", "uploaded bpf-kernel-check-index-attempt1", "downloaded bpf-kernel-check-index-attempt1", "2 passed, 0 failed"} {
		if !strings.Contains(a.output, want) {
			t.Errorf("the night's log lacks %q", want)
		}
	}
	a.id, a.github.SHA = 2, githubtest.HeadSHA
	if !a.run("kernels.yml", "pull_request", actPull) {
		t.Error("the pull request failed")
	}
	a.wantStatus("success", "standing for 2")
	if states, _ := a.statuses(); !slices.Equal(states, []string{"pending", "success", "pending", "success"}) {
		t.Errorf("statuses %q", states)
	}
	a.wantComment("1 booted, standing for 2 kernels", "1 is represented", "Last full run: 0 of 1 kind")
	if n := strings.Count(a.output, "[PASS] debian/"); n != 1 || strings.Contains(a.output, "saved cache bpf-kernel-check-index") {
		t.Errorf("the pull request booted %d kernels, or kept an index", n)
	}

	// An hour later nothing is new, then one kernel is.
	a.id, a.github.SHA = 3, strings.TrimSpace(a.command(a.repo, "git", "rev-parse", "HEAD"))
	hourly := strings.NewReplacer("elastic/bpf-kernel-check/.github", "./.github", "debian:sid:cloud-amd64", "${{ vars.BPF_KERNELS }}", "go: ./...", "objects: bpf/*.bpf.o")
	a.write(".github/workflows/new.yml", hourly.Replace(strings.ReplaceAll(documentWorkflow(t, "action.md", "new"), "check.yml@v1", "check.yml")), 0o644)
	before, _ := a.statuses()
	if !a.run("new.yml", "schedule", `{"schedule":"47 * * * *"}`) {
		t.Error("the hour without a new kernel failed")
	}
	if states, _ := a.statuses(); !slices.Equal(states, before) || strings.Contains(a.output, "uploaded") || strings.Contains(a.output, "[PASS]") || !strings.Contains(a.output, "note: 0 of 2 kernels are new since the base") {
		t.Errorf("statuses %q, or something was booted or left", states)
	}
	a.id = 4
	if kernels, err = linkKernels(a.tools.dir, suite{"bookworm", "debian/6.1.*", 3}); err != nil {
		t.Fatal(err)
	}
	a.vars = []string{"BPF_KERNELS=" + kernels}
	if !a.run("new.yml", "schedule", `{"schedule":"47 * * * *"}`) {
		t.Error("the hour with a new kernel failed")
	}
	a.wantStatus("success", "^the one kernel passes$")
	for _, want := range []string{"1 passed, 0 failed", "0 newly failing, 0 fixed, 1 new, 0 gone", "in earlier runs: 2 of 2 other kernels passed; this run booted new ones only", "saved cache bpf-kernel-check-base-4"} {
		if !strings.Contains(a.output, want) {
			t.Errorf("the hour's log lacks %q", want)
		}
	}
}

// The token of a fork's pull request may only read: its run says so and is
// green; a run of the default branch publishes for it.
func TestActFork(t *testing.T) {
	a := newAct(t)
	a.vars = []string{"BPF_KERNELS=" + a.oneKernel()}
	a.checkout()
	a.commit()
	a.github.Pulls = []githubtest.Pull{{Number: 7, SHA: githubtest.HeadSHA, Repo: "mallory/probe", Branch: "topic", State: "open"}}
	a.github.Script = func(method, _ string) (int, http.Header, string) {
		if method == http.MethodGet {
			return 0, nil, ""
		}
		return http.StatusForbidden, http.Header{"Content-Type": {"application/json"}}, `{"message":"Resource not accessible by integration","documentation_url":"https://docs.github.com"}`
	}
	if !a.run("pr.yml", "pull_request", actPull) {
		t.Error("the workflow failed")
	}
	if len(a.github.Comments)+len(a.github.Statuses) != 0 {
		t.Errorf("comments %v, statuses %v", a.github.Comments, a.github.Statuses)
	}
	if !strings.Contains(a.output, "::warning") {
		t.Error("no warning says that nothing was published")
	}

	a.github.Script = nil
	finished := `{"workflow_run":{"id":1,"run_attempt":1,"event":"pull_request","conclusion":"success","head_sha":"` + githubtest.HeadSHA +
		`","head_branch":"topic","pull_requests":[],"head_repository":{"full_name":"mallory/probe","owner":{"login":"mallory"}}},"repository":{"full_name":"octo/probe","default_branch":"main"}}`
	// As the documents show it, in a repository that uses the action by its tag.
	tree := filepath.Join(t.TempDir(), "tag")
	copyRepository(t, tree)
	a.locals = []string{"elastic/bpf-kernel-check@v1=" + tree}
	a.write(".github/workflows/forks.yml", documentWorkflow(t, "publish.md", "forks"), 0o644)
	concluded := func(conclusion string) bool {
		a.id++
		return a.run("forks.yml", "workflow_run", strings.Replace(finished, `"conclusion":"success"`, `"conclusion":"`+conclusion+`"`, 1))
	}
	for _, nothing := range []string{"action_required", "skipped", "startup_failure"} {
		concluded(nothing)
		if len(a.github.Comments)+len(a.github.Statuses) != 0 || strings.Contains(a.output, "Merge and publish") {
			t.Errorf("%s: comments %v, statuses %v", nothing, a.github.Comments, a.github.Statuses)
		}
	}
	if concluded("cancelled") {
		t.Error("a cancelled run is good enough")
	}
	a.wantStatus("error", "")
	if !concluded("success") {
		t.Error("the second workflow failed")
	}
	a.wantStatus("success", "the one kernel passes")
	a.wantComment(`the one kernel passes`)
}

// documentWorkflow is a workflow of a document, by the comment before it.
func documentWorkflow(t *testing.T, page, name string) string {
	t.Helper()
	_, rest, _ := strings.Cut(readText(t, filepath.Join(repository, ".github/docs", page)), "<!-- begin "+name+" -->\n```yaml\n")
	workflow, _, ok := strings.Cut(rest, "```\n<!-- end "+name+" -->\n")
	if !ok {
		t.Fatalf("%s has no workflow %s", page, name)
	}
	return workflow
}

// The other copies to paste, in repositories that hold nothing else than a
// Makefile and what it makes. That of a Go test is TestActStranger's.
func TestActDocuments(t *testing.T) {
	for name, tt := range map[string]struct {
		makefile string
		build    func(*actRun) // what the Makefile copies
		want     []string      // in the log
	}{
		"eventstrace": {
			makefile: "EventsTrace:\n\tcp tracer EventsTrace\n",
			build: func(a *actRun) {
				a.command(repository, "env", "CGO_ENABLED=0", "go", "build", "-o", filepath.Join(a.repo, "tracer"), "./guest/tracer")
			},
			want: []string{"1 kernel to test with EventsTrace ./EventsTrace"},
		},
		"objects": {
			makefile: "objects:\n\tmkdir -p build && cp compiled build/ringbuf.bpf.o\n",
			build: func(a *actRun) {
				a.write("compiled", readText(a.t, filepath.Join(repository, "guest/loader/testdata/ringbuf.bpf.o")), 0o644)
			},
			want: []string{"1 kernel to test with build/*.bpf.o"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAct(t)
			tree := filepath.Join(t.TempDir(), "tag")
			copyRepository(t, tree)
			a.locals = []string{"elastic/bpf-kernel-check@v1=" + tree}
			const source = "debian:bookworm:cloud-amd64"
			workflow := documentWorkflow(t, "action.md", name)
			if strings.Count(workflow, source) != 1 {
				t.Fatalf("it tests another source:\n%s", workflow)
			}
			a.write(".github/workflows/kernels.yml", strings.Replace(workflow, source, a.oneKernel(), 1), 0o644)
			a.write("Makefile", tt.makefile, 0o644)
			tt.build(a)
			a.commit()
			if !a.run("kernels.yml", "pull_request", actPull) {
				t.Error("the workflow failed")
			}
			a.wantComment(`the one kernel passes`)
			for _, want := range append(tt.want, "1 passed, 0 failed") {
				if !strings.Contains(a.output, want) {
					t.Errorf("the log lacks %q", want)
				}
			}
		})
	}
}

// What init writes runs as it is, for a repository of each kind that it knows, but
// for the kernels, of which one is enough.
func TestActInit(t *testing.T) {
	probe := readText(t, filepath.Join(repository, ".github/example/probe/probe_test.go"))
	cargoHome, rustupHome := os.Getenv("CARGO_HOME"), os.Getenv("RUSTUP_HOME")
	if home, err := os.UserHomeDir(); err == nil { // act gives its jobs another one
		cargoHome, rustupHome = cmp.Or(cargoHome, filepath.Join(home, ".cargo")), cmp.Or(rustupHome, filepath.Join(home, ".rustup"))
	}
	for kind, tt := range map[string]struct {
		files map[string]string
		want  []string // in the log
		fails bool
	}{
		"go": {
			files: map[string]string{
				"go.mod":              strings.Replace(readText(t, filepath.Join(repository, "go.mod")), "module github.com/elastic/bpf-kernel-check\n", "module example.org/probe\n", 1),
				"go.sum":              readText(t, filepath.Join(repository, "go.sum")),
				"probe/probe_test.go": probe,
				"other/other_test.go": "package other\n\nimport \"testing\"\n\nfunc TestOther(t *testing.T) {}\n",
			},
			want: []string{"1 passed, 0 failed"},
		},
		"rust": {
			files: map[string]string{
				"Cargo.toml":         "[package]\nname = \"probe\"\nversion = \"0.1.0\"\nedition = \"2021\"\n",
				"src/lib.rs":         "#[test]\nfn unit() { assert_eq!(1 + 1, 2) }\n",
				"tests/in_kernel.rs": "#[test]\nfn bpf_is_there() { assert!(std::path::Path::new(\"/sys/fs/bpf\").exists()) }\n",
			},
			want: []string{"1 passed, 0 failed"},
		},
		"cmake": {
			files: map[string]string{
				"CMakeLists.txt": "cmake_minimum_required(VERSION 3.16)\nproject(probe C)\nenable_testing()\nadd_executable(probe probe.c)\nadd_test(NAME suite/the.mount COMMAND probe /sys/fs/bpf)\nadd_test(NAME the.root COMMAND probe \"/\")\n",
				"probe.c":        "#include <unistd.h>\nint main(int c, char **v) { return c != 2 || access(v[1], R_OK); }\n",
			},
			want: []string{"1 passed, 0 failed"},
		},
		"objects": {
			files: map[string]string{"bpf/ringbuf.bpf.o": readText(t, filepath.Join(repository, "guest/loader/testdata/ringbuf.bpf.o"))},
			want:  []string{"1 kernel to test with bpf/*.bpf.o", "1 passed, 0 failed"},
		},
		"empty": {
			files: map[string]string{"README.md": "# probe\n"},
			want:  []string{"nothing to run: give "},
			fails: true,
		},
	} {
		t.Run(kind, func(t *testing.T) {
			a := newAct(t)
			tree := filepath.Join(t.TempDir(), "tag")
			copyRepository(t, tree)
			a.locals = []string{"elastic/bpf-kernel-check@v1=" + tree, "actions/setup-go@v6=" + standIn(t, "setup-go")}
			a.env = []string{"CARGO_HOME=" + cargoHome, "RUSTUP_HOME=" + rustupHome}
			for name, text := range tt.files {
				a.write(name, text, 0o644)
			}
			var out bytes.Buffer
			if code := run(t.Context(), []string{"init", a.repo}, strings.NewReader(""), &out, &out, os.Getenv); code != 0 {
				t.Fatalf("init: exit code %d\n%s", code, &out)
			}
			a.edit(configName, "  - debian:bookworm:cloud-amd64 # 6.1\n  - debian:trixie:cloud-amd64 # 6.12\n", "  - "+a.oneKernel()+"\n")
			a.commit()
			if a.run("kernels.yml", "pull_request", actPull) == tt.fails {
				t.Errorf("the workflow failed: %v", !tt.fails)
			}
			for _, want := range tt.want {
				if !strings.Contains(a.output, want) {
					t.Errorf("the log lacks %q", want)
				}
			}
			if !tt.fails {
				a.wantComment(`the one kernel passes`)
			}
		})
	}
}

// A stranger's repository holds a Go test and the README's workflow, nothing
// else. The program comes from a release, which anybody can build.
func TestActStranger(t *testing.T) {
	a := newAct(t)
	const version = "v9.8.7"
	release := releaseTree(t, version)
	checkSameBytes(t, release, version)
	a.locals = []string{"elastic/bpf-kernel-check@v1=" + release, "actions/setup-go@v6=" + standIn(t, "setup-go")}
	files := http.FileServer(http.Dir(filepath.Join(release, "dist")))
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		http.StripPrefix("/"+version, files).ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	a.env = []string{"BPF_KERNEL_CHECK_DOWNLOADS=" + server.URL}
	a.tools.tools = filepath.Join(a.state, "tools")

	readme, err := os.ReadFile(filepath.Join(repository, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "```yaml\n")
	workflow, _, ok := strings.Cut(rest, "```\n")
	if !ok {
		t.Fatal("the README has no workflow")
	}
	// One kernel that is here, instead of all of a suite.
	kernel := a.oneKernel()
	const source = "debian:bookworm:cloud-amd64"
	if strings.Count(workflow, source) != 1 {
		t.Fatalf("the README's first workflow tests another source:\n%s", workflow)
	}
	a.write(".github/workflows/kernels.yml", strings.Replace(workflow, source, kernel, 1), 0o644)
	// A module of its own, with what this one requires.
	for name, from := range map[string]string{"go.mod": "go.mod", "go.sum": "go.sum", "probe/probe_test.go": ".github/example/probe/probe_test.go"} {
		b, err := os.ReadFile(filepath.Join(repository, from))
		if err != nil {
			t.Fatal(err)
		}
		a.write(name, strings.Replace(string(b), "module github.com/elastic/bpf-kernel-check\n", "module example.org/probe\n", 1), 0o644)
	}
	a.commit()
	if !a.run("kernels.yml", "push", `{"ref":"refs/heads/main","repository":{"full_name":"octo/probe","default_branch":"main"}}`) {
		t.Error("the workflow failed")
	}
	if len(asked) != 1 || asked[0] != "/"+version+"/bpf-kernel-check-"+version+"-linux-amd64.gz" {
		t.Errorf("downloads %q", asked)
	}
	for _, want := range []string{"[PASS]", "1 passed, 0 failed", "uploaded bpf-kernel-check-1of1-attempt1"} {
		if !strings.Contains(a.output, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if strings.Contains(a.output, "Build bpf-kernel-check") {
		t.Error("it was built, not downloaded")
	}
}

// The reusable workflow, as the documents show it, with a payload that an
// earlier job built: artifacts lose its mode. act takes the workflow from the
// repository itself; the actions it uses are the tag's.
func TestActReusable(t *testing.T) {
	a := newAct(t)
	a.reusable = true
	tree := filepath.Join(t.TempDir(), "tag")
	copyRepository(t, tree)
	a.locals = []string{"elastic/bpf-kernel-check@v1=" + tree, "actions/upload-artifact@v7=" + standIn(t, "upload-artifact")}
	b, err := os.ReadFile(filepath.Join(repository, ".github/workflows/check.yml"))
	if err != nil {
		t.Fatal(err)
	}
	a.write(".github/workflows/check.yml", string(b), 0o644)
	a.write(".github/workflows/kernels.yml", `on: pull_request
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6
      - run: mv built/probe.test .
      - uses: actions/upload-artifact@v7
        with: {name: payload, path: probe.test}
  kernels:
    needs: build
    uses: ./.github/workflows/check.yml
    permissions: {contents: read, statuses: write, pull-requests: write}
    with:
      kernels: ${{ vars.BPF_KERNELS }}
      kernel: debian/6.1.*
      payload: payload
      test: ./probe.test -test.v
      target-minutes: 10
      timeout-minutes: 60
      timeout-total: 50m
      accel: tcg
      runs-on: '["ubuntu-latest"]'
      workload-identity-provider: projects/1
      service-account: kernels@example.com
      name: reusable
`, 0o644)
	a.buildProbe(filepath.Join(a.repo, "built/probe.test"))
	a.commit()
	if !a.run("kernels.yml", "pull_request", actPull) {
		t.Error("the workflow failed")
	}
	a.wantStatus("success", "the one kernel passes")
	a.wantComment(`the one kernel passes`)
	if !strings.Contains(a.output, "uploaded bpf-kernel-check-reusable-1of1-attempt1") {
		t.Error("the artifact has another name")
	}
	if !strings.Contains(a.output, ", tcg, ") || strings.Contains(a.output, "KVM is not used") {
		t.Error("it was not told accel: tcg")
	}
	if n := strings.Count(a.output, "logged in as kernels@example.com at projects/1"); n != 2 {
		t.Errorf("%d jobs logged in, want those that list and fetch kernels", n)
	}
}

// The project's own CI runs the action on guests that pass, fail, panic and
// hang, and fails itself when the action says anything else of one. Two runners
// build the program once.
func TestActGuests(t *testing.T) {
	a := newAct(t)
	a.checkout()
	a.commit()
	a.vars = append(a.vars, "BPF_KERNEL=debian/6.1.*")
	const push = `{"ref":"refs/heads/topic","repository":{"full_name":"octo/probe","default_branch":"main"}}`
	const builds = "building bpf-kernel-check from source"
	const guest, good, bad = ".github/example/guest/main.go", `fmt.Println("all is well")`, `fmt.Println("all is well"); os.Exit(1)`

	// A guest that fails where it should pass.
	a.edit(guest, good, bad)
	a.tools.tools = filepath.Join(a.state, "runner1")
	if a.run("ci.yml", "push", push, "-j", "guest", "--matrix", "guest:pass") {
		t.Error("the job succeeded")
	}
	if !strings.Contains(a.output, "verdict fail, outcome failure") || !strings.Contains(a.output, builds) {
		t.Errorf("the guest did not fail, or the program was not built")
	}

	a.edit(guest, bad, good)
	a.id = 2
	a.tools.tools = filepath.Join(a.state, "runner2")
	if !a.run("ci.yml", "push", push, "-j", "guest") {
		t.Error("the job failed")
	}
	for _, want := range []string{"verdict pass, outcome success", "Kernel panic - not syncing: sysrq triggered crash", "the payload did not end within", "probe_foo: not attached", "cache: bpf-kernel-check-program-source-"} {
		if !strings.Contains(a.output, want) {
			t.Errorf("the log lacks %q", want)
		}
	}
	if n := strings.Count(a.output, "verdict fail, outcome failure"); n != 3 {
		t.Errorf("%d guests fail, want 3", n)
	}
	if strings.Contains(a.output, builds) {
		t.Error("the program was built again")
	}
}

// A server whose artifacts the artifact actions refuse, and an action that is used
// twice in one job by the same name: the second use has no result, and not the
// first one's. Neither QEMU nor what starts it has the job's token.
func TestActWithoutArtifacts(t *testing.T) {
	a := newAct(t)
	a.vars = []string{"BPF_KERNELS=" + a.oneKernel()}
	bin, seen := t.TempDir(), filepath.Join(a.state, "environments")
	qemu, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(bin, "qemu-system-x86_64"), `#!/bin/sh
tr '\0' '\n' </proc/$$/environ >>"`+seen+`"
tr '\0' '\n' </proc/$PPID/environ | grep -v ^INPUT_ >>"`+seen+`" # act sets those, GitHub does not
exec "`+qemu+`" "$@"
`)
	a.env = []string{"GITHUB_SERVER_URL=https://git.example", "PATH=" + bin + ":" + os.Getenv("PATH")}
	a.checkout()
	a.write(".github/workflows/kernels.yml", `on: pull_request
jobs:
  kernels:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v6
      - id: good
        uses: ./
        with: {kernels: "${{ vars.BPF_KERNELS }}", test: ./probe.bin -test.v, artifacts: false, status: true}
      - id: bad
        continue-on-error: true
        uses: ./
        with: {kernels: "${{ vars.BPF_KERNELS }}", test: ./nope, artifacts: false, status: true}
      - run: echo "good $GOOD, bad $BAD"
        env:
          GOOD: ${{ steps.good.outputs.verdict }} ${{ steps.good.outcome }}
          BAD: ${{ steps.bad.outputs.verdict }} ${{ steps.bad.outcome }}
`, 0o644)
	a.buildProbe(filepath.Join(a.repo, "probe.bin"))
	a.commit()
	if !a.run("kernels.yml", "pull_request", actPull) {
		t.Error("the workflow failed")
	}
	if !strings.Contains(a.output, "good pass success, bad missing failure") {
		t.Error("the two uses have other results")
	}
	if !regexp.MustCompile(`bpf-kernel-check: [\d.]+ s: program [\d.]+, caches [\d.]+, .*first kernel [\d.]+, VMs [\d.]+, reports`).MatchString(a.output) {
		t.Error("no line says where the time went")
	}
	if states, last := a.statuses(); !slices.Equal(states, []string{"success", "error"}) || !strings.Contains(last, "does not exist") {
		t.Errorf("statuses %q, the last %q", states, last)
	}
	b, err := os.ReadFile(seen)
	if err != nil {
		t.Fatal(err)
	}
	if bad := regexp.MustCompile(`(?m)^(GITHUB_TOKEN|INPUTS|INPUT_.*)=.*|.*secret.*`).Find(b); bad != nil || !bytes.Contains(b, []byte("INPUTS_FILE=")) {
		t.Errorf("QEMU, or what starts it, has %q in its environment\n%s", bad, b)
	}
}

// The last job of ci.yml, after jobs that do nothing but end in some way.
func TestActLastJob(t *testing.T) {
	a := newAct(t)
	b, err := os.ReadFile(filepath.Join(repository, ".github/workflows/ci.yml"))
	if err != nil {
		t.Fatal(err)
	}
	const needs = "needs: [lint, unit, test, guest]"
	_, last, ok := strings.Cut(string(b), "\n  done:\n")
	if !ok || !strings.Contains(last, needs) {
		t.Fatalf("ci.yml has no job done with %s", needs)
	}
	workflow := `on: push
jobs:
  good: {runs-on: ubuntu-latest, steps: [{run: "true"}]}
  bad: {runs-on: ubuntu-latest, steps: [{run: "false"}]}
  never: {runs-on: ubuntu-latest, if: "${{ false }}", steps: [{run: "true"}]}
`
	for _, other := range []string{"good", "bad", "never"} {
		workflow += "  after-" + other + ":\n" + strings.Replace(last, needs, "needs: [good, "+other+"]", 1)
	}
	a.write(".github/workflows/last.yml", workflow, 0o644)
	a.commit()
	a.run("last.yml", "push", `{"ref":"refs/heads/main","repository":{"full_name":"octo/probe","default_branch":"main"}}`)
	for other, want := range map[string]string{"good": "succeeded", "bad": "failed", "never": "failed"} {
		if !regexp.MustCompile(`\[[^]]*/after-` + other + `\s*\] .*Job ` + want).MatchString(a.output) {
			t.Errorf("after a job %s the last one has not %s", other, want)
		}
	}
}

func (a *actRun) buildProbe(path string) {
	a.t.Helper()
	cmd := exec.Command("go", "test", "-c", "-o", path, "./.github/example/probe")
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		a.t.Fatalf("%v\n%s", err, out)
	}
}
