package gen

import "fmt"

// slots is the size of each table: a power of two, so that a table is indexed
// with bits of the line's random number. Entries that fill more slots are
// more frequent.
const slots = 64

// addresses are of the ranges that RFC 5737 and RFC 1918 keep free.
var addresses = makeAddresses()

func makeAddresses() []string {
	out := make([]string, 0, 1024)
	for i := range cap(out) {
		r := mix(uint64(i))
		switch i % 4 {
		case 0:
			out = append(out, fmt.Sprintf("203.0.113.%d", 1+r%254))
		case 1:
			out = append(out, fmt.Sprintf("198.51.100.%d", 1+r%254))
		case 2:
			out = append(out, fmt.Sprintf("10.%d.%d.%d", r>>8%64, r>>16%256, 1+r%254))
		case 3:
			out = append(out, fmt.Sprintf("192.0.2.%d", 1+r%254))
		}
	}
	return out
}

// weighted is one entry of a table and how many slots it fills.
type weighted struct {
	slots int
	text  string
}

// spread lays out a table; the last entry fills what is left.
func spread(entries []weighted, format func(string) string) [slots]string {
	var out [slots]string
	n := 0
	for _, e := range entries {
		for range e.slots {
			out[n] = format(e.text)
			n++
		}
	}
	for ; n < slots; n++ {
		out[n] = format(entries[len(entries)-1].text)
	}
	return out
}

// requests are what stands before the id.
var requests = spread([]weighted{
	{9, "GET /"},
	{7, "GET /api/v1/items"},
	{5, "GET /api/v1/items/search"},
	{4, "POST /api/v1/orders"},
	{4, "GET /static/js/app.bundle.js"},
	{4, "GET /static/css/main.css"},
	{4, "GET /images/products/thumb.jpg"},
	{4, "GET /products/garden/chairs"},
	{3, "POST /api/v1/session"},
	{3, "GET /favicon.ico"},
	{3, "GET /robots.txt"},
	{3, "PUT /api/v1/cart/items"},
	{3, "GET /blog/2025/09/how-we-ship-logs"},
	{2, "DELETE /api/v1/cart/items"},
	{2, "GET /wp-login.php"},
	{2, "HEAD /healthz"},
	{2, "GET /fonts/inter-latin.woff2"},
}, func(s string) string { return s })

// statuses are what stands behind the id, and how large the answer may be.
var statuses = func() [slots]struct {
	text     string
	sizeMask uint64
} {
	var out [slots]struct {
		text     string
		sizeMask uint64
	}
	text := spread([]weighted{{1, "500"}, {1, "502"}, {1, "403"}, {4, "404"}, {4, "304"}, {3, "301"}, {2, "201"}, {48, "200"}},
		func(s string) string { return ` HTTP/1.1" ` + s + " " })
	for i, s := range text {
		out[i].text, out[i].sizeMask = s, 1<<16-1
		if i < 14 {
			out[i].sizeMask = 1<<9 - 1
		}
	}
	return out
}()

var referers = spread([]weighted{
	{8, "https://www.example.com/"},
	{5, "https://www.example.com/products"},
	{4, "https://shop.example.net/cart"},
	{3, "https://search.example.org/?q=log+shipping"},
	{44, "-"},
}, func(s string) string { return ` "` + s + `" "` })

var agents = spread([]weighted{
	{14, "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36"},
	{4, "Mozilla/5.0 (iPhone; CPU iPhone OS 18_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.6 Mobile/15E148 Safari/604.1"},
	{6, "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"},
	{4, "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"},
	{4, "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)"},
	{6, "okhttp/4.12.0"},
	{6, "kube-probe/1.33"},
	{5, "curl/8.5.0"},
	{7, "python-requests/2.32.5"},
	{8, "Go-http-client/2.0"},
}, func(s string) string { return s + `"` })
