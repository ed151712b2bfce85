package testrunner

import (
	"fmt"
	"sync"
)

// What is kept of the tracer's stderr: where libbpf says what it found, and
// where it says why it gave up.
const (
	stderrHead = 64 << 10
	stderrTail = 192 << 10
)

// headTail keeps the beginning and the end of what is written to it.
type headTail struct {
	mu    sync.Mutex
	head  []byte
	tail  []byte // a ring once it is full
	next  int
	total int
}

// Write takes everything and never fails.
func (h *headTail) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := len(p)
	h.total += n
	if room := stderrHead - len(h.head); room > 0 {
		k := min(room, len(p))
		h.head = append(h.head, p[:k]...)
		p = p[k:]
	}
	if len(p) > stderrTail {
		p = p[len(p)-stderrTail:]
	}
	if room := stderrTail - len(h.tail); room > 0 {
		k := min(room, len(p))
		h.tail = append(h.tail, p[:k]...)
		p = p[k:]
	}
	for len(p) > 0 {
		k := copy(h.tail[h.next:], p)
		h.next = (h.next + k) % stderrTail
		p = p[k:]
	}
	return n, nil
}

// String joins the two, with a note on what is missing between them.
func (h *headTail) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := string(h.head)
	if lost := h.total - len(h.head) - len(h.tail); lost > 0 {
		s += fmt.Sprintf("\n[... %d bytes cut ...]\n", lost)
	}
	return s + string(h.tail[h.next:]) + string(h.tail[:h.next])
}
