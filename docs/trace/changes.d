/* Never run: no system with DTrace was available.
   Each change of the rate and of the number of sockets, with its time (ms) and its reason.
   sudo dtrace -q -Z -s docs/trace/changes.d -c './target/release/portreeve 127.0.0.1 -p- -q' */
BEGIN { since = timestamp; }
portreeve*:::pace_change
{
    printf("%6d ms  rate    %d -> %d per second: %s\n", (timestamp - since) / 1000000, arg0, arg1, copyinstr(arg2));
}
portreeve*:::cap_change
{
    printf("%6d ms  sockets %d -> %d: %s\n", (timestamp - since) / 1000000, arg0, arg1, copyinstr(arg2));
}
