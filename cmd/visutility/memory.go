package main

import (
	"io/fs"
	"math"
	"path"
	"strconv"
	"strings"
)

// availableMemory is how much memory this process may use, in bytes: the
// machine's, or less where a control group says so. 0 where that cannot be
// told. root is the root of the file system.
func availableMemory(root fs.FS) int64 {
	total := int64(math.MaxInt64)
	if n, ok := memTotal(root); ok {
		total = n
	}
	for _, file := range limitFiles(root) {
		b, err := fs.ReadFile(root, file)
		if err != nil {
			continue // no such control group
		}
		// "max", or in version 1 a number near 2^63, is no limit.
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			total = min(total, n)
		}
	}
	if total == math.MaxInt64 {
		return 0
	}
	return total
}

// memTotal reads the line "MemTotal:  16384 kB".
func memTotal(root fs.FS) (int64, bool) {
	b, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "MemTotal:" {
			kb, err := strconv.ParseInt(f[1], 10, 64)
			return kb << 10, err == nil
		}
	}
	return 0, false
}

// limitFiles are the files that may hold a limit of this process: those of its
// control group and of all groups above, for a limit holds for what is below.
func limitFiles(root fs.FS) []string {
	b, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return nil
	}
	var files []string
	for line := range strings.Lines(string(b)) {
		// "0::/user.slice" in version 2, "5:memory:/docker/0f…" in version 1.
		part := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(part) < 3 {
			continue
		}
		base, name := "sys/fs/cgroup", "memory.max"
		switch {
		case part[0] == "0" && part[1] == "":
		case strings.Contains(","+part[1]+",", ",memory,"):
			base, name = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := path.Clean("/" + part[2]); ; dir = path.Dir(dir) {
			files = append(files, path.Join(base, dir, name))
			if dir == "/" {
				break
			}
		}
	}
	return files
}
