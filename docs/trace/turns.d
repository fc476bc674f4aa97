/* Never run: no system with DTrace was available.
   The loop's turns: how many events each took, how many attempts it began, how long it waited (us).
   sudo dtrace -Z -s docs/trace/turns.d -c './target/release/portreeve 127.0.0.1 -p- -q' */
portreeve*:::turn
{
    @turns = count();
    @events = quantize(arg0);
    @begun = quantize(arg1);
    @wait_us = quantize(arg3 / 1000);
}
