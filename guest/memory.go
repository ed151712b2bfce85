package guest

import "fmt"

// Memory is what files take of a guest's memory, in bytes.
type Memory struct {
	Archive  int64 // in the archive that the kernel unpacks
	Unpacked int64 // as files, each in whole pages
}

// Memory is what the payload's files take.
func (p *Payload) Memory() (m Memory) {
	for _, f := range p.Files {
		m.AddFile(int64(len(f.Data)))
	}
	return m
}

// AddFile adds a file of size bytes.
func (m *Memory) AddFile(size int64) {
	const page = 4096
	m.Archive += size
	m.Unpacked += (size + page - 1) / page * page
}

// Add adds what other files take.
func (m *Memory) Add(more Memory) {
	m.Archive += more.Archive
	m.Unpacked += more.Unpacked
}

// MiB is the memory in MiB that the files need in a guest, without what the kernel
// itself takes. The kernel that boots has them twice, in the archive and unpacked,
// and what it unpacks to takes half of the memory that the archive leaves; a
// restored guest gets them once, into a file system that takes nine tenths.
func (m Memory) MiB(restored bool) int {
	need := m.Archive + 2*m.Unpacked
	if restored {
		need = m.Unpacked * 10 / 9
	}
	return int((need + 1<<20 - 1) >> 20)
}

// Check says whether the files can fit a guest with that many MiB of memory. What
// the kernel takes differs: what is let through may still not fit, and init says so.
func (m Memory) Check(memory int, restored bool) error {
	const least = 16 // MiB that kernel and init take at least
	if memory >= m.MiB(restored)+least {
		return nil
	}
	return fmt.Errorf("the payload's files take %d MiB, which do not fit a VM of %d MiB: give --memory %d", (m.Unpacked+1<<20-1)>>20, memory, m.Enough())
}

// Enough is the memory in MiB of a guest that the files fit.
func (m Memory) Enough() int {
	const (
		enough = 96 // MiB that are enough for a distribution's kernel, with the 64th part that describes the memory
		step   = 64
	)
	would := (m.MiB(false) + enough) * 64 / 63
	return (would + step - 1) / step * step
}
