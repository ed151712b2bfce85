package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/coverage"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/page"
	"github.com/elastic/bpf-kernel-check/report/summary"
)

// actionInputs returns the commands whose flags are inputs of an action, and its
// inputs that are flags of none. which is run, plan or report.
func (c *command) actionInputs(which string) (cmds []*cobra.Command, own []string) {
	switch which {
	case "run":
		return []*cobra.Command{c.runCommand(), c.publishCommand()}, []string{"token", "artifact-days", "artifacts", "config"}
	case "plan":
		return []*cobra.Command{c.planCommand()}, []string{"name", "pending", "token", "config", "keep-index"}
	default:
		return []*cobra.Command{c.mergeCommand(), c.publishCommand()}, []string{"token", "run-id", "artifact-days", "config"}
	}
}

// actionStep is one step of one of the actions.
type actionStep struct {
	c     *command
	in    inputs
	file  string // holds the inputs, for the steps after the first
	env   github.Env
	ci    ciRun
	names actionNames
}

// actionNames are the names that the steps of all jobs of a run share.
type actionNames struct {
	shard  shardChoice // 0/0 for the whole list
	dir    string      // holds all files of this action
	prefix string      // of artifact names and cache keys
	suffix string      // of artifact names, with the attempt
}

func (c *command) actionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:    "action",
		Short:  "The steps of the GitHub Action",
		Hidden: true,
		Long: `The steps of action.yml, shard/action.yml and report/action.yml. Inputs come as
JSON in the variable INPUTS of the first step, which leaves them without the token
in the file that the later steps' INPUTS_FILE names.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	for _, s := range []struct {
		name, short string
		step        func(context.Context, *actionStep) error
	}{
		{"begin-run", "Name what action.yml's steps use", beginRun},
		{"restore-run", "Get kernels that earlier runs kept", restoreKernels},
		{"run", "Boot the kernels of a shard, or of the whole list", actionRun},
		{"publish-run", "Publish the result of the whole list", actionPublish},
		{"save-run", "Keep kernels for later runs", saveKernels},
		{"begin-plan", "Name what shard/action.yml's steps use", beginPlan},
		{"index-plan", "Bring the index of kernels up to date", actionIndex},
		{"plan", "Pin the list and print the matrix", actionPlan},
		{"pending-plan", "Set the commit status to pending", actionPending},
		{"begin-report", "Name what report/action.yml's steps use", beginReport},
		{"report", "Merge all shards and publish the result", actionReport},
	} {
		cmd.AddCommand(&cobra.Command{
			Use: s.name, Short: s.short, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				begins := strings.HasPrefix(s.name, "begin-")
				step, err := c.newStep(s.name[strings.LastIndexByte(s.name, '-')+1:], begins)
				if err != nil {
					return c.annotated(c.inWorkflow(err))
				}
				if err = s.step(cmd.Context(), step); begins && err == nil {
					err = step.leaveInputs()
				}
				return c.annotated(err)
			},
		})
	}
	return cmd
}

// annotated shows an error as an annotation, since few people read a step's log.
func (c *command) annotated(err error) error {
	var exit exitError
	if err == nil || errors.As(err, &exit) || c.getenv("GITHUB_ACTIONS") != "true" {
		return err
	}
	if e := c.log.Error("bpf-kernel-check", err.Error()); e != nil {
		return errors.Join(err, e)
	}
	return err
}

var flagRE = regexp.MustCompile(`(?:^|[ (,])--([a-z][a-z-]*)`)

// inWorkflow explains an error of a command to someone who wrote a workflow:
// which inputs it is about, and where paths start.
func (c *command) inWorkflow(err error) error {
	var exit exitError
	if err == nil || errors.As(err, &exit) {
		return err
	}
	known := flagNames(c.runCommand(), c.planCommand(), c.mergeCommand(), c.publishCommand())
	var flags []string
	for _, m := range flagRE.FindAllStringSubmatch(err.Error(), -1) {
		if slices.Contains(known, m[1]) && !slices.Contains(flags, m[1]) {
			flags = append(flags, m[1])
		}
	}
	if len(flags) > 0 {
		err = fmt.Errorf("%w (in a workflow, inputs: %s)", err, strings.Join(flags, ", "))
	}
	var payload *guest.PayloadError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &payload) && strings.HasPrefix(payload.Reason, "does not exist") {
		err = fmt.Errorf("%w (paths start at the workspace: does an earlier step of this job check the repository out, and build what is not in it?)", err)
	}
	return err
}

// newStep reads what every step needs: the one that begins an action its inputs,
// the others what that has left. which is run, plan or report.
func (c *command) newStep(which string, begins bool) (*actionStep, error) {
	text, file, most := c.getenv("INPUTS"), c.getenv("INPUTS_FILE"), maxInputs
	if !begins {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, usagef("INPUTS_FILE: %v: want the output inputs of the action's first step", err)
		}
		text, most = string(b), maxLeft
	}
	in, err := readInputs(text, most)
	if err != nil {
		return nil, err
	}
	if !begins {
		if err := in.takeWhere(c); err != nil {
			return nil, err
		}
	}
	s := &actionStep{c: c, in: in, file: file}
	// Errors are reported when something is published.
	s.env, _ = github.ReadEnv(c.getenv) //nolint:errcheck // see above
	s.ci = detectCI(c.getenv, c.warn)
	cmds, own := c.actionInputs(which)
	if err := in.only(slices.Concat(flagNames(cmds...), own, []string{"cache"})...); err != nil {
		return nil, err
	}
	if begins {
		if err := c.addSettings(which, in); err != nil {
			return nil, c.blame(err)
		}
	}
	c.settled = true
	if err := in.check(cmds...); err != nil {
		return nil, err
	}
	for _, name := range []string{"pending", "artifacts", "keep-index"} {
		if _, err := in.flag(name); err != nil {
			return nil, err
		}
	}
	if u := in["page-url"]; u != "" && report.WebAddress(u) == "" {
		return nil, usagef("input page-url is %.200q: want the address of report.html, such as https://example.org/report.html", u)
	}
	name := cmp.Or(in["name"], github.DefaultName)
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
		if s.names.shard, err = chooseShard(in["shard"], func(string) string { return "" }); err != nil {
			return nil, err
		}
	}
	return s, nil
}

var artifactRE = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// artifactPrefix is the prefix of a check's artifact names and cache keys. A
// digest separates names that differ only in characters that are not allowed.
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

// Parts of patterns of download-artifact: digits, and either word.
const (
	number      = "+([0-9])"
	planOrIndex = "@(plan|index)"
)

func (n actionNames) planPattern() string { return n.prefix + "-plan-attempt" + number }

// runPattern matches what a shard takes of its plan.
func (n actionNames) runPattern() string    { return n.prefix + "-" + planOrIndex + "-attempt" + number }
func (n actionNames) planArtifact() string  { return n.prefix + "-plan" + n.suffix }
func (n actionNames) indexArtifact() string { return n.prefix + "-index" + n.suffix }
func (n actionNames) shardPattern() string {
	return n.prefix + "-" + number + "of" + number + "-attempt" + number
}
func (n actionNames) planDir() string        { return filepath.Join(n.dir, "plan") }
func (n actionNames) baseDir() string        { return filepath.Join(n.dir, "base") }
func (n actionNames) historyDir() string     { return filepath.Join(n.baseDir(), "history") }
func (n actionNames) baseKey() string        { return n.prefix + "-base-" }
func (n actionNames) indexDir() string       { return filepath.Join(n.dir, "index") }
func (n actionNames) indexKey() string       { return n.prefix + "-index-" }
func (n actionNames) artifactsDir() string   { return filepath.Join(n.dir, "artifacts") }
func (n actionNames) reportArtifact() string { return n.prefix + "-report" + n.suffix }

// shardArtifact names the results of one shard, or of the whole list.
func (n actionNames) shardArtifact() string {
	return n.prefix + "-" + n.part() + n.suffix
}

func (n actionNames) part() string {
	return fmt.Sprintf("%dof%d", max(n.shard.shard, 1), max(n.shard.shards, 1))
}

func (n actionNames) cacheDir() string { return filepath.Join(n.dir, "cache") }

// out is the directory of the results.
func (s *actionStep) out() (string, error) {
	dir := s.in["out"]
	if dir == "" {
		return filepath.Join(s.names.dir, "out"), nil
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", usagef("input out: %w", err)
	}
	return abs, nil
}

// newOut is the directory of the results, without what another use of the action
// has left there: it would pass for this one's.
func (s *actionStep) newOut() (string, error) {
	out, err := s.out()
	if err != nil {
		return "", err
	}
	base, _ := filepath.Abs(s.in["base"]) // to compare with
	for _, name := range []string{report.ReportName, junitName, markdownName, page.Name, summary.Name, coverage.Name} {
		old := filepath.Join(out, name)
		if old == base {
			continue
		}
		if err := os.Remove(old); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("remove %s of an earlier run: %w", name, err)
		}
	}
	return out, nil
}

// leaveInputs leaves the inputs to the steps that follow, in a file: what a step
// has in its environment, all that it starts could have. Each use of the action
// has a file of its own.
func (s *actionStep) leaveInputs() error {
	in := maps.Clone(s.in)
	delete(in, "token")
	in.leaveWhere(s.c)
	err := os.MkdirAll(s.names.dir, 0o755)
	var f *os.File
	if err == nil {
		f, err = os.CreateTemp(s.names.dir, "inputs-*.json") // of mode 0600
	}
	if err == nil {
		enc := json.NewEncoder(f)
		enc.SetEscapeHTML(false) // so that it is no longer than it came
		err = errors.Join(enc.Encode(in), f.Close())
	}
	if err != nil {
		return fmt.Errorf("leave the inputs to the next steps: %w", err)
	}
	return s.set("inputs", f.Name())
}

// set writes outputs of this step, given as alternating names and values.
func (s *actionStep) set(pairs ...string) error {
	if s.env.Output == "" {
		return usagef("GITHUB_OUTPUT is not set: the command action is for the steps of the GitHub Action")
	}
	var outs []github.Output
	for i := 0; i+1 < len(pairs); i += 2 {
		outs = append(outs, github.Output{Name: pairs[i], Value: pairs[i+1]})
	}
	if err := github.WriteOutputs(s.env.Output, outs); err != nil {
		return fmt.Errorf("write the step's outputs: %w", err)
	}
	return nil
}

// notice shows a hint as an annotation, since few people read a step's log.
func (s *actionStep) notice(msg string) {
	if s.c.getenv("GITHUB_ACTIONS") != "true" || s.c.log.Warn("bpf-kernel-check", msg) != nil {
		s.c.warn(msg)
	}
}

// exec runs a command as people do.
func (s *actionStep) exec(ctx context.Context, c *command, args ...string) error {
	root := c.root()
	root.SetArgs(args)
	return c.inWorkflow(c.blame(root.ExecuteContext(ctx)))
}

// publish shows the results in out, which running or merging left there, even if
// that failed. It returns the first error.
func (s *actionStep) publish(ctx context.Context, out string, args []string, before error) error {
	c := *s.c
	var exit exitError
	if before != nil && !errors.As(before, &exit) {
		c.noResult = before.Error()
	}
	return cmp.Or(before, s.exec(ctx, &c, append([]string{"publish", out}, args...)...))
}

// trustedEvents are of the repository's own code. Others, such as a comment's, have
// the default branch's ref too, and a job may test what somebody proposes.
var trustedEvents = []string{"push", "schedule", "workflow_dispatch"}

// saves reports whether this run may write caches. Every run reads them, so only
// runs of the default branch write.
func (s *actionStep) saves() bool {
	if !slices.Contains(trustedEvents, s.env.Event) {
		return false
	}
	main, err := github.DefaultBranch(s.env)
	if err != nil {
		s.c.warn(err.Error() + ": no cache is saved")
	}
	return main
}
