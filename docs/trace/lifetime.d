/* Never run: no system with DTrace was available.
   How long attempts live from connect(2) to their end, by the tracer's own clock (us), by errno.
   sudo dtrace -Z -s docs/trace/lifetime.d -c './target/release/portreeve 127.0.0.1 -p- -q' */
portreeve*:::probe_start { began[arg3] = timestamp; }
portreeve*:::probe_outcome /began[arg3]/
{
    @lifetime_us[(int)arg4] = quantize((timestamp - began[arg3]) / 1000);
    began[arg3] = 0;
}
