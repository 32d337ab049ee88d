//go:build unix

package runtimeapi

import (
	"os"
	"runtime"
	"syscall"
)

// freeze stops a process until thaw, as AWS does between invocations. It may
// be gone, which is noticed elsewhere.
func freeze(p *os.Process) { _ = p.Signal(syscall.SIGSTOP) }

func thaw(p *os.Process) { _ = p.Signal(syscall.SIGCONT) }

// maxRSS is the most memory that an ended process had, in bytes. Linux counts
// it in KB, and other systems in their own ways.
func maxRSS(state *os.ProcessState) int64 {
	used, ok := state.SysUsage().(*syscall.Rusage)
	if !ok || runtime.GOOS != "linux" {
		return 0
	}
	return int64(used.Maxrss) << 10 //nolint:unconvert // it has 32 bits on some machines
}
