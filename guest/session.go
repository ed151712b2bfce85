package guest

import (
	"context"
	"slices"
	"strings"

	"github.com/kballard/go-shellquote"

	"github.com/elastic/bpf-kernel-check/guest/wire"
)

// Where a session's files are in the guest.
const (
	shellPath  = "/bin/shell"
	runPayload = "/bin/run-payload"
	scriptPath = "/run-commands"
)

// Session is a shell in the guest, for a person or a script, in place of the
// payload, which is unpacked beside it.
type Session struct {
	Terminal string   // serial device of the guest that it talks on
	Env      []string // K=V, such as TERM, LINES and COLUMNS
	Motd     string   // what the shell says first; "": nothing
	Script   []byte   // commands to run instead of asking for some; nil: ask
	Mark     string   // with Script: what marks its output, see wire.MarkBegin
}

// SessionPayload is a payload whose job is a session, where run-payload runs
// the given payload as init would.
func SessionPayload(ctx context.Context, arch string, p Payload, s Session) (Payload, error) {
	shell, err := Program(ctx, arch, Shell)
	if err != nil {
		return Payload{}, err
	}
	run := RunPayload(p.Job)
	p.Files = append(slices.Clone(p.Files), File{Path: shellPath, Mode: 0o755, Data: shell})
	if run != "" {
		p.Files = append(p.Files, File{Path: runPayload, Mode: 0o755, Data: []byte(run)})
	}
	if s.Motd != "" {
		p.Files = append(p.Files, File{Path: wire.SessionMotd, Mode: 0o644, Data: []byte(s.Motd)})
	}
	p.Job = wire.Job{Args: []string{shellPath, "--session"}, Env: slices.Clone(s.Env), Name: "session", Terminal: s.Terminal, CgroupV1: p.Job.CgroupV1, Cover: p.Job.Cover, Cores: p.Job.Cores}
	if p.OnDemand == "" {
		p.OnDemand = OnDemandDefault
	}
	if s.Script != nil {
		p.Files = append(p.Files, File{Path: scriptPath, Mode: 0o644, Data: s.Script})
		p.Job.Args = append(p.Job.Args, scriptPath)
		p.Job.Env = append(p.Job.Env, wire.SessionMark+"="+s.Mark)
	}
	return p, nil
}

// RunPayload is the script that does what init does for a job, "" for a job
// without a program.
func RunPayload(j wire.Job) string {
	if len(j.Args) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("#!/bin/sh\n# Runs the payload as init would.\ncd /\n")
	for _, kv := range j.Env {
		k, v, _ := strings.Cut(kv, "=")
		b.WriteString("export " + k + "=" + shellquote.Join(v) + "\n")
	}
	b.WriteString("exec " + shellquote.Join(j.Args...) + " </dev/null\n")
	return b.String()
}
