package frame

import "time"

// maxStamp is the length of the longest time that stamps reads, in bytes.
const maxStamp = len("2006-01-02T15:04:05.999999999+07:00")

// stamps reads times as in RFC 3339, of which most are of the same minute as
// the one before. It belongs to one goroutine.
type stamps struct {
	minute string // of the last time, as it was written
	unix   int64  // when it began, were it UTC
}

// parse reads a time with seconds, and up to nine digits of their fraction;
// false for anything else.
func (s *stamps) parse(b []byte) (t time.Time, ok bool) {
	const toMinute, toSecond = len("2006-01-02T15:04"), len("2006-01-02T15:04:05")
	if len(b) <= toSecond || len(b) > maxStamp || b[toMinute] != ':' {
		return t, false
	}
	if string(b[:toMinute]) != s.minute && !s.newMinute(b[:toMinute]) {
		return t, false
	}
	sec, ok := digits(b[toMinute+1 : toSecond])
	if !ok || sec > 59 {
		return t, false
	}
	rest, nsec := b[toSecond:], 0
	if rest[0] == '.' {
		n, unit := 1, 100_000_000
		for ; n < len(rest) && n <= 9 && '0' <= rest[n] && rest[n] <= '9'; n++ {
			nsec += int(rest[n]-'0') * unit
			unit /= 10
		}
		if n == 1 {
			return t, false
		}
		rest = rest[n:]
	}
	east, ok := zone(rest)
	return time.Unix(s.unix+int64(sec-east), int64(nsec)), ok
}

func (s *stamps) newMinute(b []byte) bool {
	if b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' {
		return false
	}
	year, ok1 := digits(b[:4])
	month, ok2 := digits(b[5:7])
	day, ok3 := digits(b[8:10])
	hour, ok4 := digits(b[11:13])
	minute, ok5 := digits(b[14:])
	if !ok1 || !ok2 || !ok3 || !ok4 || !ok5 || month < 1 || month > 12 || hour > 23 || minute > 59 {
		return false
	}
	t := time.Date(year, time.Month(month), day, hour, minute, 0, 0, time.UTC)
	if t.Day() != day {
		return false
	}
	s.minute, s.unix = string(b), t.Unix()
	return true
}

// zone is how many seconds a time zone is east of UTC.
func zone(b []byte) (seconds int, ok bool) {
	if len(b) == 1 && b[0] == 'Z' {
		return 0, true
	}
	if len(b) != len("+07:00") || b[3] != ':' || (b[0] != '+' && b[0] != '-') {
		return 0, false
	}
	hour, ok1 := digits(b[1:3])
	minute, ok2 := digits(b[4:])
	seconds = hour*3600 + minute*60
	if b[0] == '-' {
		seconds = -seconds
	}
	return seconds, ok1 && ok2 && hour < 24 && minute < 60
}

// digits is the number that b, digits alone, stands for.
func digits(b []byte) (n int, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int(c-'0')
	}
	return n, true
}
