package lines

import (
	"fmt"
	"sync"
)

// Clip keeps the beginning and the end of what is written to it. Its methods may
// be called from several goroutines.
type Clip struct {
	Head, Tail int // bytes to keep

	mu         sync.Mutex
	head, tail []byte
	total      int
}

// Write takes everything and never fails.
func (c *Clip) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(p)
	c.total += n
	k := min(max(0, c.Head-len(c.head)), len(p))
	c.head = append(c.head, p[:k]...)
	p = p[k:]
	c.tail = append(c.tail, p[max(0, len(p)-c.Tail):]...)
	// Not each time: what is moved was written at least as often.
	if drop := len(c.tail) - c.Tail; drop > c.Tail {
		c.tail = append(c.tail[:0], c.tail[drop:]...)
	}
	return n, nil
}

// String joins the two, with a note of what is missing between them.
func (c *Clip) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	tail := c.tail[max(0, len(c.tail)-c.Tail):]
	lost := c.total - len(c.head) - len(tail)
	if lost == 0 || c.Head == 0 {
		return string(c.head) + string(tail)
	}
	return fmt.Sprintf("%s\n[... %d bytes cut ...]\n%s", c.head, lost, tail)
}
