"""The main job on real input: a stock agent, instrumented as any team would, gets better night after night."""
