package screen

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// maxLive bounds the lines of the live display.
const maxLive = 12

// activity is what is being done with a kernel.
type activity struct {
	what  string
	size  int64 // bytes to download; 0 for none
	since time.Time
}

// Start keeps the live display fresh until stop is called. Without a terminal
// there is none.
func (p *Progress) Start() (stop func()) {
	if p.opts.Width == 0 {
		return func() {}
	}
	quit, gone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(gone)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				p.mu.Lock()
				p.erase()
				p.mu.Unlock()
				return
			case <-tick.C:
				p.mu.Lock()
				p.erase()
				p.draw()
				p.mu.Unlock()
			}
		}
	}()
	return func() { close(quit); <-gone }
}

// Working shows what is being done with a kernel, until its result is there or
// until Waiting is called.
func (p *Progress) Working(id, what string) {
	p.update(func() { p.active[id] = activity{what: what, since: time.Now()} })
}

// Waiting takes a kernel off the live display.
func (p *Progress) Waiting(id string) {
	p.update(func() { delete(p.active, id) })
}

// Downloaded says how much of a kernel has been downloaded, in bytes.
func (p *Progress) Downloaded(id string, done, total int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bytes[id] = max(p.bytes[id], done)
	if a, ok := p.active[id]; ok {
		a.size = total
		p.active[id] = a
	}
}

// update changes the screen below the live display, which is drawn again.
func (p *Progress) update(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
	change()
	p.draw()
}

// downloads says how much was downloaded; "" if nothing was.
func (p *Progress) downloads() string {
	if len(p.bytes) == 0 {
		return ""
	}
	var sum int64
	for _, n := range p.bytes {
		sum += n
	}
	return fmt.Sprintf("downloaded %s for %s", Size(sum), report.Count(len(p.bytes), "kernel"))
}

func (p *Progress) erase() {
	if p.drawn > 0 {
		_ = raw(p.out, fmt.Sprintf("\x1b[%dA\x1b[J", p.drawn))
		p.drawn = 0
	}
}

// raw writes control sequences, past a writer that would remove them.
func raw(w io.Writer, s string) error {
	if l, ok := w.(interface{ Raw(string) error }); ok {
		return l.Raw(s)
	}
	_, err := io.WriteString(w, s)
	return err
}

func (p *Progress) draw() {
	if p.opts.Width == 0 {
		return
	}
	n := 0
	for _, c := range p.done {
		n += c
	}
	done := strconv.Itoa(n)
	if p.opts.Total > 0 {
		done += " of " + strconv.Itoa(p.opts.Total)
	}
	head := fmt.Sprintf("%s done, %s", done, time.Since(p.begin).Round(time.Second))
	if d := p.downloads(); d != "" {
		head += ", " + d
	}
	lines := []string{head}
	ids := slices.Sorted(maps.Keys(p.active))
	for _, id := range ids[:min(len(ids), maxLive)] {
		a := p.active[id]
		what := a.what
		if a.size > 0 {
			what += fmt.Sprintf(" %s of %s", Size(p.bytes[id]), Size(a.size))
		}
		lines = append(lines, fmt.Sprintf("  %s  %s, %s", id, what, time.Since(a.since).Round(time.Second)))
	}
	for _, l := range lines {
		if len(l) >= p.opts.Width {
			l = l[:p.opts.Width-1]
		}
		fmt.Fprintln(p.out, l)
	}
	p.drawn = len(lines)
}
