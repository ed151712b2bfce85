package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
)

// The inputs of the actions that are no flags, most of them for steps of
// action.yml alone.
var (
	runOwn    = []string{"token", "artifact-days"}
	planOwn   = []string{"name", "pending", "token"}
	reportOwn = []string{"token", "run-id", "artifact-days"}
)

// actionStep is one step of one of the actions.
type actionStep struct {
	c     *command
	in    inputs
	env   github.Env
	ci    ciRun
	names actionNames
}

// actionNames are what the steps of all jobs of a run agree on.
type actionNames struct {
	shard  shardChoice // 0/0: the whole list
	dir    string      // everything of this action
	prefix string      // of artifacts and keys of caches
	suffix string      // of artifacts: the attempt
}

func (c *command) actionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "action",
		Short:  "The steps of the GitHub Action",
		Hidden: true,
		Long: `The steps of action.yml, shard/action.yml and report/action.yml. Inputs come as
JSON in the variable INPUTS; what later steps need are outputs of the step.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, s := range []struct {
		name, short string
		step        func(context.Context, *actionStep) error
	}{
		{"begin-run", "Name what action.yml's steps use", beginRun},
		{"run", "Boot the kernels of a shard, or of the whole list", actionRun},
		{"begin-plan", "Name what shard/action.yml's steps use", beginPlan},
		{"plan", "Pin the list and print the matrix", actionPlan},
		{"begin-report", "Name what report/action.yml's steps use", beginReport},
		{"report", "Merge all shards and publish the result", actionReport},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: s.name, Short: s.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				step, err := c.newStep(strings.TrimPrefix(s.name, "begin-"))
				if err != nil {
					return err
				}
				return s.step(cmd.Context(), step)
			},
		})
	}
	return cmd
}

// newStep reads what all steps need. which is run, plan or report.
func (c *command) newStep(which string) (*actionStep, error) {
	in, err := readInputs(c.getenv("INPUTS"))
	if err != nil {
		return nil, err
	}
	s := &actionStep{c: c, in: in}
	// What is not as it should be is said when something is published.
	s.env, _ = github.ReadEnv(c.getenv) //nolint:errcheck // see above
	s.ci = detectCI(c.getenv, c.warn)
	known := map[string][]string{
		"run":    append(flagNames(c.runCommand(), c.publishCommand()), runOwn...),
		"plan":   append(flagNames(c.planCommand()), planOwn...),
		"report": append(flagNames(c.mergeCommand(), c.publishCommand()), reportOwn...),
	}
	if err := in.only(append(known[which], "cache")...); err != nil {
		return nil, err
	}
	name := cmp.Or(strings.TrimSpace(in["name"]), github.DefaultName)
	if err := github.CheckName(name); err != nil {
		return nil, usagef("input name: %w", err)
	}
	s.names.prefix = artifactPrefix(name)
	s.names.suffix = "-attempt" + strconv.Itoa(s.ci.attempt)
	temp := c.getenv("RUNNER_TEMP")
	if temp == "" {
		return nil, usagef("RUNNER_TEMP is not set: the command action is for the steps of the GitHub Action")
	}
	s.names.dir = filepath.Join(temp, s.names.prefix)
	if which == "run" {
		if s.names.shard, err = chooseShard(strings.TrimSpace(in["shard"]), func(string) string { return "" }); err != nil {
			return nil, err
		}
	}
	return s, nil
}

var artifactRE = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// artifactPrefix begins the names of artifacts and caches of a check. Names
// that only differ in what an artifact's name cannot hold stay apart.
func artifactPrefix(name string) string {
	if name == github.DefaultName {
		return name
	}
	clean := artifactRE.ReplaceAllString(name, "-")
	if clean != name {
		sum := sha256.Sum256([]byte(name))
		clean += "-" + hex.EncodeToString(sum[:4])
	}
	return github.DefaultName + "-" + clean
}

// number stands for digits in a pattern of download-artifact.
const number = "+([0-9])"

func (n actionNames) planPattern() string  { return n.prefix + "-plan-attempt" + number }
func (n actionNames) planArtifact() string { return n.prefix + "-plan" + n.suffix }
func (n actionNames) shardPattern() string {
	return n.prefix + "-" + number + "of" + number + "-attempt" + number
}
func (n actionNames) planDir() string        { return filepath.Join(n.dir, "plan") }
func (n actionNames) baseDir() string        { return filepath.Join(n.dir, "base") }
func (n actionNames) baseKey() string        { return n.prefix + "-base-" }
func (n actionNames) artifactsDir() string   { return filepath.Join(n.dir, "artifacts") }
func (n actionNames) reportArtifact() string { return n.prefix + "-report" + n.suffix }

// shardArtifact is of one shard, or of the whole list.
func (n actionNames) shardArtifact() string {
	return n.prefix + "-" + n.part() + n.suffix
}

func (n actionNames) part() string {
	return fmt.Sprintf("%dof%d", max(n.shard.shard, 1), max(n.shard.shards, 1))
}

func (n actionNames) kernelsKey() string { return n.prefix + "-kernels-" + n.part() + "-" }
func (n actionNames) cacheDir() string   { return filepath.Join(n.dir, "cache") }

// out is the directory of the results.
func (s *actionStep) out() (string, error) {
	dir := strings.TrimSpace(s.in["out"])
	if dir == "" {
		return filepath.Join(s.names.dir, "out"), nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", usagef("input out: %w", err)
	}
	return abs, nil
}

// set writes outputs of this step, as name and value in turn.
func (s *actionStep) set(pairs ...string) error {
	if s.env.Output == "" {
		return usagef("GITHUB_OUTPUT is not set: the command action is for the steps of the GitHub Action")
	}
	var outs []github.Output
	for i := 0; i+1 < len(pairs); i += 2 {
		outs = append(outs, github.Output{Name: pairs[i], Value: pairs[i+1]})
	}
	if err := github.WriteOutputs(s.env.Output, outs, rand.Reader); err != nil {
		return fmt.Errorf("write the step's outputs: %w", err)
	}
	return nil
}

// exec runs one of the commands that people run.
func (s *actionStep) exec(ctx context.Context, c *command, args ...string) error {
	root := c.root()
	root.SetArgs(args)
	return root.ExecuteContext(ctx)
}

// saves says whether this run may leave caches for others: only runs of the
// default branch do, as everyone reads them.
func (s *actionStep) saves() bool {
	main, err := github.DefaultBranch(s.env)
	if err != nil {
		s.c.warn(err.Error() + ": no cache is saved")
	}
	return main
}

func beginRun(_ context.Context, s *actionStep) error {
	out, err := s.out()
	if err != nil {
		return err
	}
	pairs := []string{"out", out, "artifact", s.names.shardArtifact()}
	if s.names.shard.shards > 0 && strings.TrimSpace(s.in["plan"]) == "" {
		pairs = append(pairs, "plan-pattern", s.names.planPattern(), "plan-dir", s.names.planDir())
	}
	// A cache of the user's own is the user's to keep.
	if strings.TrimSpace(s.in["cache"]) == "" {
		pairs = append(pairs, "cache-dir", s.names.cacheDir(), "cache-key", s.names.kernelsKey())
	}
	return s.set(pairs...)
}

// actionRun boots a shard; the whole list it publishes, too.
func actionRun(ctx context.Context, s *actionStep) error {
	out, err := s.out()
	if err != nil {
		return err
	}
	in := inputs{}
	for k, v := range s.in {
		in[k] = v
	}
	in["out"] = out
	own := strings.TrimSpace(in["cache"]) == ""
	if own {
		in["cache"] = s.names.cacheDir()
	}
	if s.names.shard.shards > 0 && strings.TrimSpace(in["plan"]) == "" {
		if in["plan"], err = findPlan(s.names.planDir()); err != nil {
			return err
		}
	}
	args, err := in.args(s.c.runCommand())
	if err != nil {
		return err
	}
	if err := s.c.provide(ctx, in); err != nil {
		return err
	}
	args = append([]string{"run", "--cache=" + in["cache"]}, args...)
	runErr := s.exec(ctx, s.c, args...)
	if err := s.afterRun(out, own); err != nil {
		return errors.Join(runErr, err)
	}
	if s.names.shard.shards > 0 {
		return runErr
	}
	pub, err := s.in.args(s.c.publishCommand())
	if err != nil {
		return errors.Join(runErr, err)
	}
	pubErr := s.exec(ctx, s.c, append([]string{"publish", out}, pub...)...)
	if runErr != nil {
		return runErr
	}
	return pubErr
}

// afterRun leaves what the next steps want to know of a run: what came of a
// shard, and the kernels that it needs in the cache.
func (s *actionStep) afterRun(out string, ownCache bool) error {
	name := report.Plan{Shard: max(s.names.shard.shard, 1), Shards: max(s.names.shard.shards, 1), Attempt: s.ci.attempt}.ShardFileName()
	f, err := readFile(filepath.Join(out, name), report.ReadShardFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the run has said why
	}
	if err != nil {
		return fmt.Errorf("read the shard file %s: %w", name, err)
	}
	var pairs []string
	if s.names.shard.shards > 0 { // publish says it of the whole list
		passed, failed, untested := tallyKernels(f.Kernels)
		untested += len(f.Plan.Kernels) - len(f.Kernels)
		verdict := report.Pass
		switch {
		case failed > 0:
			verdict = report.Fail
		case untested > 0 || f.Problem != "":
			verdict = report.Missing
		}
		pairs = []string{
			"verdict", verdict.String(), "passed", strconv.Itoa(passed),
			"failed", strconv.Itoa(failed), "not-tested", strconv.Itoa(untested),
		}
	}
	if ownCache && s.saves() && len(f.Kernels) > 0 {
		kept, err := s.trim(f)
		if err != nil {
			s.c.warn("trim the cache of kernels: " + err.Error())
		} else if kept > 0 {
			pairs = append(pairs, "cache-save-key", s.names.kernelsKey()+listHex(f.Plan.List))
		}
	}
	if len(pairs) == 0 {
		return nil
	}
	return s.set(pairs...)
}

// cacheBudget is what the kernels of all shards may take, in bytes. GitHub
// keeps 10 GB for a repository and drops what was not used for longest: so
// there is room for the kernels of two lists, and for others' caches.
const cacheBudget = 4 << 30

func (s *actionStep) trim(f *report.ShardFile) (int64, error) {
	cache, err := s.c.cacheIn(s.names.cacheDir())
	if err != nil {
		return 0, err
	}
	var keep []string
	for _, k := range f.Kernels {
		if k.Digest != "" {
			keep = append(keep, k.Digest)
		}
	}
	return cache.Trim(keep, cacheBudget/int64(max(f.Plan.Shards, 1)))
}

var listRE = regexp.MustCompile(`^sha256:([0-9a-f]{16})`)

// listHex shortens the digest of a list.
func listHex(digest string) string {
	if m := listRE.FindStringSubmatch(digest); m != nil {
		return m[1]
	}
	return "none"
}

var attemptRE = regexp.MustCompile(`-attempt([0-9]{1,9})$`)

// findPlan finds the plan of the latest attempt below a directory into which
// artifacts were downloaded: a single one lies in it without a directory of
// its own. It returns "" when there is none.
func findPlan(dir string) (string, error) {
	best, bestAttempt := "", -1
	for _, pattern := range []string{"plan.json", "*/plan.json"} {
		paths, err := filepath.Glob(filepath.Join(globEscape(dir), pattern))
		if err != nil {
			return "", err
		}
		for _, p := range paths {
			attempt := 0
			if m := attemptRE.FindStringSubmatch(filepath.Base(filepath.Dir(p))); m != nil {
				attempt, _ = strconv.Atoi(m[1]) // nine digits are a number
			}
			if attempt > bestAttempt {
				best, bestAttempt = p, attempt
			}
		}
	}
	return best, nil
}

var globMeta = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func globEscape(path string) string { return globMeta.Replace(path) }

func beginPlan(_ context.Context, s *actionStep) error {
	if err := os.MkdirAll(s.names.planDir(), 0o755); err != nil {
		return fmt.Errorf("make the plan's directory: %w", err)
	}
	pairs := []string{"artifact", s.names.planArtifact(), "plan", filepath.Join(s.names.planDir(), "plan.json")}
	if strings.TrimSpace(s.in["timings"]) == "" {
		pairs = append(pairs, "base-dir", s.names.baseDir(), "base-key", s.names.baseKey())
	}
	return s.set(pairs...)
}

// actionPlan pins the list. Its outputs are the matrix and what people like to
// see of it.
func actionPlan(ctx context.Context, s *actionStep) error {
	in := inputs{}
	for k, v := range s.in {
		in[k] = v
	}
	in["out"] = filepath.Join(s.names.planDir(), "plan.json")
	in["json"] = "true"
	if strings.TrimSpace(in["timings"]) == "" {
		if p := filepath.Join(s.names.baseDir(), report.TimingsName); exists(p) {
			in["timings"] = p
		}
	}
	args, err := in.args(s.c.planCommand())
	if err != nil {
		return err
	}
	pending, err := in.flag("pending")
	if err != nil {
		return err
	}
	if err := s.c.provideSources(ctx, in); err != nil {
		return err
	}
	args = append([]string{"plan"}, args...)
	if dir := strings.TrimSpace(in["cache"]); dir != "" {
		args = append(args, "--cache="+dir)
	}
	var matrix bytes.Buffer
	c := *s.c
	c.stdout = &matrix
	if err := s.exec(ctx, &c, args...); err != nil {
		return err
	}
	var m struct {
		Include []matrixJob `json:"include"`
	}
	if err := json.Unmarshal(matrix.Bytes(), &m); err != nil {
		return fmt.Errorf("read the matrix: %w", err)
	}
	kernels := 0
	for _, j := range m.Include {
		kernels += j.Kernels
	}
	if err := s.set("matrix", strings.TrimSpace(matrix.String()), "shards", strconv.Itoa(len(m.Include)), "kernels", strconv.Itoa(kernels)); err != nil {
		return err
	}
	if !pending {
		return nil
	}
	args = []string{"publish", "--pending"}
	if name := strings.TrimSpace(in["name"]); name != "" {
		args = append(args, "--name="+name)
	}
	return s.exec(ctx, s.c, args...)
}

func beginReport(_ context.Context, s *actionStep) error {
	out, err := s.out()
	if err != nil {
		return err
	}
	return s.set("out", out, "artifact", s.names.reportArtifact(),
		"shard-pattern", s.names.shardPattern(), "artifacts-dir", s.names.artifactsDir(),
		"plan-pattern", s.names.planPattern(), "plan-dir", s.names.planDir(),
		"base-dir", s.names.baseDir(), "base-key", s.names.baseKey())
}

// actionReport merges what the shards left and publishes it, whatever came of
// the merge.
func actionReport(ctx context.Context, s *actionStep) error {
	in := inputs{}
	for k, v := range s.in {
		in[k] = v
	}
	var err error
	if in["out"], err = s.out(); err != nil {
		return err
	}
	if strings.TrimSpace(in["plan"]) == "" {
		if in["plan"], err = findPlan(s.names.planDir()); err != nil {
			return err
		}
	}
	if strings.TrimSpace(in["base"]) == "" {
		if p := filepath.Join(s.names.baseDir(), report.ReportName); exists(p) {
			in["base"] = p
		}
	}
	args, err := in.args(s.c.mergeCommand())
	if err != nil {
		return err
	}
	pub, err := in.args(s.c.publishCommand())
	if err != nil {
		return err
	}
	// No shard left anything: merge says so, and of which kernels.
	if err := os.MkdirAll(s.names.artifactsDir(), 0o755); err != nil {
		return fmt.Errorf("make the directory of the artifacts: %w", err)
	}
	mergeErr := s.exec(ctx, s.c, append([]string{"merge", s.names.artifactsDir()}, args...)...)
	if err := s.exec(ctx, s.c, append([]string{"publish", in["out"]}, pub...)...); mergeErr == nil {
		mergeErr = err
	}
	if s.saves() {
		if err := s.leaveBase(in["out"]); err != nil {
			s.c.warn(err.Error())
		}
	}
	return mergeErr
}

// leaveBase puts aside what later runs compare and plan with.
func (s *actionStep) leaveBase(out string) error {
	if err := os.MkdirAll(s.names.baseDir(), 0o755); err != nil {
		return fmt.Errorf("keep the report for later runs: %w", err)
	}
	for _, name := range []string{report.ReportName, report.TimingsName} {
		b, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			return fmt.Errorf("keep the report for later runs: %w", err)
		}
		if err := os.WriteFile(filepath.Join(s.names.baseDir(), name), b, 0o644); err != nil {
			return fmt.Errorf("keep the report for later runs: %w", err)
		}
	}
	return s.set("base-save-key", fmt.Sprintf("%s%s%s", s.names.baseKey(), s.ci.id, s.names.suffix))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
