package main

import (
	"os"

	"golang.org/x/term"

	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard"
)

// newScreen prints to stdout, with a live display if that is a terminal.
func (c *command) newScreen(o screen.Options) *screen.Progress {
	if f := terminal(c.stdout); f != nil && c.getenv("TERM") != "dumb" && c.getenv("CI") == "" {
		o.Width = 80
		if w, _, err := term.GetSize(int(f.Fd())); err == nil && w > 20 {
			o.Width = w
		}
		o.Color = c.getenv("NO_COLOR") == ""
	}
	return screen.New(c.stdout, o)
}

// show prints an event of the runner.
func show(p *screen.Progress, e shard.Event) {
	switch e.State {
	case shard.Fetching:
		p.Working(e.ID, "fetching")
	case shard.Waiting:
		p.Waiting(e.ID)
	case shard.Booting:
		p.Working(e.ID, "in its VM")
	case shard.Retrying:
		p.Note("RETRY", e.ID, e.Reason)
	case shard.Emulating:
		p.Note("TCG", e.ID, "KVM is given up, all VMs of this run are emulated: "+e.Reason)
	case shard.Done:
		p.Result(&e.Result, e.Took)
	}
}

// terminal returns the terminal that a stream is, or nil.
func terminal(s any) *os.File {
	if l, ok := s.(*github.Log); ok {
		s = l.Unwrap()
	}
	if f, ok := s.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}
