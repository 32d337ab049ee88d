package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// usage is what one run took.
type usage struct {
	cpu, wall time.Duration
	memory    int64 // greatest resident size, in bytes
}

// run runs each contestant once, and compares their answers.
func (g *group) run(ctx context.Context, b *bench, round int) error {
	first := map[string]string{} // answers, by key
	for k := range g.contestants {
		if round%2 == 1 {
			k = len(g.contestants) - 1 - k
		}
		c := g.contestants[k]
		u, printed, err := c.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		b.say("round %d, %s, %s: %.2f s CPU, %.2f s, %d MB\n", round+1, g.name, c.name,
			u.cpu.Seconds(), u.wall.Seconds(), u.memory>>20)
		c.runs = append(c.runs, u)
		if c.key == "" {
			continue
		}
		answer, err := c.answer(printed)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		if other, ok := first[c.key]; ok && other != answer {
			return fmt.Errorf("%s answers\n%s\nand another contestant\n%s", c.name, answer, other)
		}
		first[c.key] = answer
	}
	return nil
}

// run runs the program once. Answers of earlier runs are removed before.
func (c *contestant) run(ctx context.Context) (usage, string, error) {
	if c.answers != "" {
		if err := os.RemoveAll(c.answers); err != nil {
			return usage{}, "", err
		}
	}
	cmd := exec.CommandContext(ctx, c.path, c.args...)
	cmd.Env = append(os.Environ(), c.env...)
	var out, errs bytes.Buffer
	cmd.Stderr = &errs
	if c.key != "" && c.answers == "" {
		cmd.Stdout = &out
	}
	begin := time.Now()
	err := cmd.Run()
	u := usage{wall: time.Since(begin)}
	if err != nil {
		return u, "", fmt.Errorf("%w\n%s", err, &errs)
	}
	taken := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	u.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	u.memory = taken.Maxrss
	if runtime.GOOS != "darwin" { // Darwin counts bytes, others kilobytes
		u.memory <<= 10
	}
	return u, out.String(), nil
}

// answer is what the contestant printed, or a line for each file it wrote.
func (c *contestant) answer(printed string) (string, error) {
	if c.answers == "" {
		return printed, nil
	}
	files, err := os.ReadDir(c.answers)
	if err != nil {
		return "", err
	}
	var lines strings.Builder
	for _, f := range files {
		sum, err := digest(filepath.Join(c.answers, f.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&lines, "%s %s\n", sum, f.Name())
	}
	return lines.String(), nil
}

func digest(place string) (string, error) {
	f, err := os.Open(place)
	if err != nil {
		return "", err
	}
	defer f.Close() //nolint:errcheck // of what was only read
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
