// RTP ports rest after a call, so that its late packets reach no other call. Any thread.
#ifndef OFFHOOK_PORT_REST_HPP
#define OFFHOOK_PORT_REST_HPP

namespace offhook {

// Pairs of ports (RTP and RTCP) that there are, and how long each rests. Nothing rests before this is called.
void openPortRest(int num_pairs, int rest_s);
void portsTaken(unsigned short rtp_port);
void portsReleased(unsigned short rtp_port);
bool portsLeft(); // a pair that is neither in use nor resting
long numPortsResting();

} // namespace offhook
#endif
