package text

import "fmt"

// Size returns a number of bytes for people, such as "9.4 MB": below 1000 it is
// exact, otherwise it has one decimal.
func Size(bytes uint64) string {
	if bytes < 1000 {
		return fmt.Sprintf("%d B", bytes)
	}
	n, unit := float64(bytes)/1000, 0
	for ; n >= 999.95 && unit < 5; unit++ { // 999.95 would be printed as 1000.0
		n /= 1000
	}
	return fmt.Sprintf("%.1f %cB", n, "kMGTPE"[unit])
}

// Count returns a number of things for people, such as "1 file" or "2 files".
func Count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
